// Submits a job and follows its intent to the end: java Client.java URL BODY [cancel]
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Set;
import java.util.concurrent.*;
import java.util.regex.Pattern;

class Client {
	static final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
	static final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
	static String position;
	static long retry = 2000;

	/** There is no JSON parser in Java. In an event its own fields come first, what the backend said later. */
	static String field(String json, String name) {
		var m = Pattern.compile("\"" + name + "\":\"?([^\",}]+)").matcher(json);
		if (!m.find()) throw new IllegalStateException("no " + name + " in " + json);
		return m.group(1);
	}

	/** Reads one connection to its end. Returns the status at the end of the intent, or null after a cut. */
	static String follow(URI stream, boolean[] cancel) throws Exception {
		var ask = HttpRequest.newBuilder(stream).header("Accept", "text/event-stream").timeout(java.time.Duration.ofSeconds(15));
		if (position != null) ask.header("Last-Event-ID", position);
		var answer = http.send(ask.build(), BodyHandlers.ofInputStream());
		int code = answer.statusCode();
		if (code == 204) return "OVER"; // the end was seen already
		if (code == 429 || code >= 500) answer.headers().firstValueAsLong("Retry-After").ifPresent(s -> retry = s * 1000);
		else if (code != 200) throw new IllegalStateException("the stream was answered with " + code);
		String id = null, data = null;
		try (var body = answer.body(); var lines = new BufferedReader(new InputStreamReader(body, "UTF-8"))) {
			for (;;) {
				// A sign of life comes every few seconds: silence is a dead connection.
				var silence = timer.schedule(() -> { body.close(); return null; }, 15, TimeUnit.SECONDS);
				String line = lines.readLine();
				silence.cancel(false);
				if (line == null || code != 200) return null;
				if (line.startsWith("retry: ")) retry = Long.parseLong(line.substring(7));
				if (line.startsWith("id: ")) id = line.substring(4);
				if (line.startsWith("data: ")) data = line.substring(6);
				if (!line.isEmpty() || data == null) continue;
				String status = field(data, "status");
				System.out.println(field(data, "seq") + " " + status);
				position = id;
				data = null;
				if (Set.of("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT").contains(status)) return status;
				if (cancel[0] && status.equals("IN_PROGRESS")) {
					cancel[0] = false;
					var intent = URI.create(stream.toString().split("/events/stream")[0]);
					http.send(HttpRequest.newBuilder(intent).DELETE().build(), BodyHandlers.discarding());
				}
			}
		}
	}

	public static void main(String[] args) throws Exception {
		var submit = HttpRequest.newBuilder(URI.create(args[0])).header("Content-Type", "application/json");
		var answer = http.send(submit.POST(HttpRequest.BodyPublishers.ofString(args[1])).build(), BodyHandlers.ofString());
		var stream = URI.create(args[0]).resolve(field(answer.body(), "observe_url"));
		boolean[] cancel = { args.length > 2 };
		for (;; Thread.sleep(retry)) {
			try {
				String end = follow(stream, cancel);
				if (end != null) System.exit(end.equals("COMPLETED") ? 0 : 1);
			} catch (IOException cut) {
				// cut, or nobody there: come back
			}
		}
	}
}
