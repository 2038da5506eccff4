// Submits a job and follows its intent to the end: java Client.java URL BODY [cancel]
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.HashMap;
import java.util.concurrent.*;
import java.util.regex.Pattern;

class Client {
	/** There is no JSON parser in Java. In an event its own fields come first, what the backend said later. */
	static String field(String json, String name) {
		return Pattern.compile("\"" + name + "\":\"?([^\",}]+)").matcher(json).results().findFirst().orElseThrow().group(1);
	}

	public static void main(String[] args) throws Exception {
		var http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
		var timer = Executors.newSingleThreadScheduledExecutor();
		var submit = HttpRequest.newBuilder(URI.create(args[0])).header("Content-Type", "application/json");
		var job = http.send(submit.POST(HttpRequest.BodyPublishers.ofString(args[1])).build(), BodyHandlers.ofString());
		var stream = URI.create(args[0]).resolve(field(job.body(), "observe_url"));
		var cancel = args.length > 2;
		var position = "";
		for (long retry = 2000; ; Thread.sleep(Math.min(retry, 60_000))) {
			var ask = HttpRequest.newBuilder(stream).header("Accept", "text/event-stream").header("Last-Event-ID", position);
			try {
				var answer = http.send(ask.timeout(Duration.ofSeconds(15)).build(), BodyHandlers.ofInputStream());
				int code = answer.statusCode();
				if (code >= 400 && code < 500 && code != 429) throw new IllegalStateException("the stream was answered with " + code);
				retry = answer.headers().firstValue("Retry-After").map(seconds -> Long.parseLong(seconds) * 1000).orElse(retry);
				var lines = new BufferedReader(new InputStreamReader(answer.body(), "UTF-8"));
				var frame = new HashMap<String, String>();
				for (;;) {
					// A sign of life comes every few seconds: silence is a dead connection.
					var silence = timer.schedule(() -> { answer.body().close(); return null; }, 15, TimeUnit.SECONDS);
					var line = lines.readLine();
					silence.cancel(false);
					if (line == null) break;
					var part = line.split(": ", 2);
					if (part.length == 2) frame.put(part[0], part[1]);
					if (part[0].equals("retry")) retry = Long.parseLong(part[1]);
					if (!line.isEmpty() || !frame.containsKey("data")) continue; // the frame is not whole yet
					var status = field(frame.get("data"), "status");
					System.out.println(field(frame.get("data"), "seq") + " " + status);
					position = frame.get("id");
					frame.clear();
					if (status.equals("COMPLETED")) System.exit(0);
					if (status.matches("FAILED|CANCELED|TIMED_OUT")) System.exit(1);
					if (!cancel || !status.equals("IN_PROGRESS")) continue;
					cancel = false;
					http.send(HttpRequest.newBuilder(URI.create(stream.toString().split("/events/stream")[0])).DELETE().build(), BodyHandlers.discarding());
				}
			} catch (IOException cut) {
				// cut, or nobody there: come back
			}
		}
	}
}
