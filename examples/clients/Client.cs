// Submits a job and follows its intent to the end: mcs Client.cs && mono Client.exe URL BODY [cancel]
using System;
using System.IO;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading;

static class Client {
	static string position;
	static int retry = 2000;

	static HttpWebRequest Request(string method, Uri uri) {
		var request = (HttpWebRequest)WebRequest.Create(uri);
		request.Method = method;
		// A sign of life comes every few seconds: silence is a dead connection.
		request.Timeout = request.ReadWriteTimeout = 15000;
		return request;
	}

	// In an event its own fields come first, what the backend said later.
	static string Field(string json, string name) {
		return Regex.Match(json, "\"" + name + "\":\"?([^\",}]+)").Groups[1].Value;
	}

	// Reads one connection to its end. Returns the status at the end of the intent, or null after a cut.
	static string Follow(Uri stream, ref bool cancel) {
		var request = Request("GET", stream);
		request.Accept = "text/event-stream";
		if (position != null) request.Headers["Last-Event-ID"] = position;
		using (var answer = (HttpWebResponse)request.GetResponse())
		using (var lines = new StreamReader(answer.GetResponseStream())) {
			if (answer.StatusCode == HttpStatusCode.NoContent) return "OVER"; // the end was seen already
			string line, id = null, data = null;
			while ((line = lines.ReadLine()) != null) {
				if (line.StartsWith("retry: ")) retry = int.Parse(line.Substring(7));
				if (line.StartsWith("id: ")) id = line.Substring(4);
				if (line.StartsWith("data: ")) data = line.Substring(6);
				if (line != "" || data == null) continue;
				string status = Field(data, "status");
				Console.WriteLine(Field(data, "seq") + " " + status);
				position = id;
				data = null;
				if (Array.IndexOf(new[] { "COMPLETED", "FAILED", "CANCELED", "TIMED_OUT" }, status) >= 0) return status;
				if (cancel && status == "IN_PROGRESS") {
					cancel = false;
					Request("DELETE", new Uri(stream.ToString().Replace("/events/stream", ""))).GetResponse().Close();
				}
			}
			return null;
		}
	}

	static int Main(string[] args) {
		var submit = Request("POST", new Uri(args[0]));
		submit.ContentType = "application/json";
		var body = Encoding.UTF8.GetBytes(args[1]);
		using (var to = submit.GetRequestStream()) to.Write(body, 0, body.Length);
		Uri stream;
		using (var answer = new StreamReader(submit.GetResponse().GetResponseStream()))
			stream = new Uri(submit.RequestUri, Field(answer.ReadToEnd(), "observe_url"));
		var cancel = args.Length > 2;
		for (;; Thread.Sleep(retry)) {
			try {
				var end = Follow(stream, ref cancel);
				if (end != null) return end == "COMPLETED" ? 0 : 1;
			} catch (WebException problem) {
				var answer = problem.Response as HttpWebResponse;
				int code = answer == null ? 503 : (int)answer.StatusCode;
				if (code < 500 && code != 429) throw;
			} catch (IOException) {
				// cut: come back
			}
		}
	}
}
