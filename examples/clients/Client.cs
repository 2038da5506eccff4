// Submits a job and follows its intent to the end: mcs Client.cs && mono Client.exe URL BODY [cancel]
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Text.RegularExpressions;
using System.Threading;

static class Client {
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

	static int Main(string[] args) {
		var submit = new WebClient { Encoding = System.Text.Encoding.UTF8 };
		submit.Headers["Content-Type"] = "application/json";
		var stream = new Uri(new Uri(args[0]), Field(submit.UploadString(args[0], args[1]), "observe_url"));
		var cancel = args.Length > 2;
		var position = "";
		for (var retry = 2000; ; Thread.Sleep(Math.Min(retry, 60000))) {
			var ask = Request("GET", stream);
			ask.Accept = "text/event-stream";
			ask.Headers["Last-Event-ID"] = position;
			var frame = new Dictionary<string, string>();
			try {
				using (var lines = new StreamReader(ask.GetResponse().GetResponseStream()))
					for (string line; (line = lines.ReadLine()) != null;) {
						var part = line.Split(new[] { ": " }, 2, StringSplitOptions.None);
						if (part.Length == 2) frame[part[0]] = part[1];
						if (part[0] == "retry") retry = int.Parse(part[1]);
						if (line != "" || !frame.ContainsKey("data")) continue; // the frame is not whole yet
						var status = Field(frame["data"], "status");
						Console.WriteLine(Field(frame["data"], "seq") + " " + status);
						position = frame["id"];
						frame.Clear();
						if (status == "COMPLETED") return 0;
						if (status == "FAILED" || status == "CANCELED" || status == "TIMED_OUT") return 1;
						if (!cancel || status != "IN_PROGRESS") continue;
						cancel = false;
						Request("DELETE", new Uri(stream.ToString().Split(new[] { "/events/stream" }, 0)[0])).GetResponse().Close();
					}
			} catch (WebException problem) {
				var answer = problem.Response as HttpWebResponse; // if anybody was there
				int seconds, code = answer == null ? 503 : (int)answer.StatusCode;
				if (code < 500 && code != 429) throw;
				if (answer != null && int.TryParse(answer.Headers["Retry-After"], out seconds)) retry = seconds * 1000;
			} catch (IOException) {
				// cut: come back
			}
		}
	}
}
