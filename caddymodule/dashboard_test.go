//go:build e2e

package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/browsertest"
	"github.com/caddy-intents/caddy-intents/internal/caddytest"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

func TestTheDashboardAsksNobodyElseAndBreaksNoPolicy(t *testing.T) {
	b := newBoard(t, mappedReport)
	b.open("")
	var asked []string
	b.value(`performance.getEntriesByType("resource").map(entry => entry.name)`, &asked)
	require.NotEmpty(t, asked)
	for _, address := range asked {
		require.Contains(t, address, b.at(""))
	}
	var empty bool
	b.value(`!byID("list-empty").hidden && byID("list-empty").innerText.includes("No intent")`, &empty)
	require.True(t, empty, "an empty list says so")
	require.Empty(t, b.Complaints())

	b.Visit(b.at("")) // where programs find the list
	b.wait(`location.pathname === "/intents/dashboard" && byID("live").dataset.state === "live"`)
	b.Run(`
		try { document.body.innerHTML = "<img src=x onerror='window.hacked=1'>" } catch {}
		try { document.body.append(Object.assign(document.createElement("script"), { textContent: "window.hacked = 1" })) } catch {}
		document.body.append(Object.assign(document.createElement("img"), { src: "http://127.0.0.1:9/x.png" }))
		await new Promise(done => setTimeout(done, 100))
		if (window.hacked) throw new Error("a script ran that the policy does not know")`, nil)
	require.NotEmpty(t, b.Complaints(), "the policy is in force")
}

func TestTheDashboardShowsAnIntentFromItsSubmitToItsEnd(t *testing.T) {
	b := newBoard(t, mappedReport)
	b.open("")
	id, jobID := b.submit()
	other, _ := b.submit()
	b.wait(`text("list-rows").includes("job-1") && text("list-rows").includes("job-2") && text("totals").includes("running\n2")`)
	b.backend.SaysAll(jobID, legacytest.Status{State: "running", Percent: 40, Step: "adding up"})
	b.wait(`text("list-rows").includes("40 %") && text("list-rows").includes("adding up") && byID("jobs-rows").rows[0].cells[4].innerText === "2"`)

	b.open("#" + id)
	b.wait(`text("detail-title") && text("detail").includes("In progress") && text("detail").includes("\"percent\":40") && text("detail").includes("body.status")`)
	b.backend.SaysAll(jobID, legacytest.Status{State: "archived"})
	b.wait(`text("detail").includes("state body.status {\n\tcompleted archived\n}")`)
	b.choose("show", "running=true&unknown=*")
	b.wait(`byID("list-rows").rows.length === 1 && byID("list-rows").rows[0].dataset.key === "` + id + `"`)
	b.choose("show", "running=true")
	b.backend.Finishes(jobID)
	b.wait(`document.querySelector("aside .badge").innerText === "Completed" && document.querySelector("aside .actions").hidden`)
	b.wait(`byID("list-rows").rows.length === 1 && byID("list-rows").rows[0].dataset.key === "` + other + `"`)
	b.wait(`byID("jobs-rows").rows[0].cells[6].innerText === "1"`)
	var timeline []string
	b.value(`[...document.querySelectorAll(".events .what")].map(item => item.firstChild.textContent)`, &timeline)
	require.Equal(t, []string{"Created", "Submitted", "Delivered"}, timeline[:3])
	require.Equal(t, "Completed", timeline[len(timeline)-1])
	b.choose("show", "status=completed")
	b.wait(`byID("list-rows").rows.length === 1 && byID("list-rows").rows[0].dataset.key === "` + id + `"`)
	require.Empty(t, b.Complaints())
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 400} {
			b.Look(width, 800, scheme)
			b.keep(fmt.Sprintf("dashboard-%s-%d.png", scheme, width))
			var needed int
			b.value(`document.documentElement.scrollWidth`, &needed)
			require.LessOrEqual(t, needed, width, "nothing is beyond the edge of the screen")
		}
	}
}

func TestTheDashboardDoesWhatItIsToldTwice(t *testing.T) {
	b := newBoard(t, strings.ReplaceAll(mappedReport, "100ms", "1h"))
	id, jobID := b.submit()
	b.open("#" + id)
	b.wait(`document.querySelector("aside .actions button")`)
	press := func(n int) {
		b.click(fmt.Sprintf("aside .actions button:nth-child(%d)", n))
		b.wait(`byID("confirm").open`)
	}
	press(1)
	polls := b.backend.Polls(jobID)
	b.click("#confirm-no")
	b.wait(`!byID("confirm").open`)
	require.Equal(t, polls, b.backend.Polls(jobID), "nothing is done before it is confirmed")
	b.backend.Says(jobID, "running", 70)
	press(1)
	b.click("#confirm-yes")
	b.wait(`!byID("confirm").open && text("detail").includes("Polled. The backend answered 200") && text("detail").includes("\"percent\":70")`)
	b.wait(`text("announce") === "Polled."`)

	press(2)
	b.Run(`document.querySelector("#confirm-fields input").value = "wrong year"`, nil)
	b.click("#confirm-yes")
	b.wait(`!byID("confirm").open && document.querySelector("aside .badge").innerText === "Canceled" && text("detail").includes("wrong year")`)
	require.Len(t, b.backend.AskedFor("DELETE", "/reports/status/"+jobID), 1)

	id, jobID = b.submit()
	b.Run(`location.hash = args[0]`, nil, id)
	b.wait(`text("detail").includes("` + jobID + `")`)
	press(3)
	code, _ := b.asks("POST", id+"/end")
	require.Equal(t, http.StatusOK, code)
	b.click("#confirm-yes")
	b.wait(`byID("confirm").open && byID("confirm-problem").innerText`)
	b.click("#confirm-no")
	b.wait(`document.querySelector("aside .badge").innerText === "Canceled"`)

	id, _ = b.submit()
	b.Run(`location.hash = args[0]`, nil, id)
	b.wait(`text("detail").includes("job-3")`)
	press(3)
	b.click("#confirm-yes")
	b.wait(`!byID("confirm").open && document.querySelector("aside .badge").innerText === "Failed" && text("detail").includes("ended_by_operator")`)
	require.Empty(t, b.backend.AskedFor("DELETE", "/reports/status/job-3"))
	b.Complaints() // the 409
}

func TestTheDashboardTakesNoWordForMarkup(t *testing.T) {
	b := newBoard(t, strings.Replace(mappedReport, "completed done", "completed done\n\t\t\tfailed failed", 1))
	_, jobID := b.submit()
	hostile := `<img src=x onerror="window.hacked=1"></td></table><script>hacked=1</script>{{hacked}}` + "\u202e\u0000\ufeff"
	b.backend.SaysAll(jobID, legacytest.Status{State: "<b>bold</b>", Step: hostile})
	b.open("")
	b.wait(`text("list-rows").includes("<b>bold</b>")`)
	b.click("#list-rows a")
	b.wait(`text("detail").includes("onerror=") && text("detail").includes("completed ` + "`<b>bold</b>`" + `")`)
	b.backend.Fails(jobID, hostile)
	b.wait(`text("detail").includes("Failed")`)
	b.choose("show", "status=failed")
	b.wait(`text("list-rows").includes("</table><script>")`)
	b.Visit(b.at("dashboard#" + url.PathEscape(hostile)))
	b.wait(`text("detail").includes("is no intent's id")`)
	var made int
	b.value(`document.querySelectorAll("img, b, body script").length + (window.hacked ? 100 : 0)`, &made)
	require.Zero(t, made)
}

func TestTheDashboardIsUsedByKeyboard(t *testing.T) {
	b := newBoard(t, strings.ReplaceAll(mappedReport, "100ms", "1h"))
	b.submit()
	b.submit()
	b.open("")
	b.wait(`byID("list-rows").rows.length === 2`)
	focused := func() (what string) {
		b.value(`(element => element.id || element.name || element.closest("tr")?.rowIndex + " " + element.tagName)(document.activeElement)`, &what)
		return what
	}
	b.Press(browsertest.Tab, browsertest.Enter)
	b.wait(`document.activeElement.id === "list"`)
	b.Press(browsertest.Tab)
	require.Equal(t, "show", focused())
	b.Press(browsertest.Tab, browsertest.Tab, browsertest.Tab)
	require.Equal(t, "1 A", focused())
	b.Press(browsertest.Down)
	require.Equal(t, "2 A", focused())
	b.Press(browsertest.Enter)
	b.wait(`document.activeElement.id === "detail-title"`)
	b.Press(browsertest.Tab, browsertest.Tab, browsertest.Enter)
	b.wait(`byID("confirm").open`)
	require.Equal(t, "confirm-no", focused(), "Enter must not do by itself what has to be confirmed")
	b.Press(browsertest.Escape)
	b.wait(`!byID("confirm").open && document.activeElement.innerText === "Poll now…"`)
	b.Press(browsertest.Escape)
	b.wait(`byID("detail").hidden && document.activeElement.closest("tr")?.rowIndex === 2`)

	var nameless []string
	b.value(`[...document.querySelectorAll("button, a, input, select, progress, svg, section, aside, table")].filter(element =>
		!(element.innerText?.trim() || element.getAttribute("aria-label") || element.getAttribute("aria-labelledby") || element.labels?.length || element.closest("[hidden], dialog:not([open])"))
	).map(element => element.outerHTML.slice(0, 80))`, &nameless)
	require.Empty(t, nameless, "what can be used or seen has a name")
}

// holdAnswers keeps from the page, until it is let go, what it asks for.
const holdAnswers = `{
	const { fetch } = window, held = new Promise(done => window.letGo = done)
	window.fetch = (...args) => held.then(() => fetch(...args))
}`

func TestTheDashboardSaysNothingOfWhatItDoesNotKnowYet(t *testing.T) {
	b := newBoard(t, strings.ReplaceAll(mappedReport, "100ms", "1h"))
	b.submit()
	b.DevTools("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": holdAnswers}, nil)
	b.Visit(b.at("dashboard"))
	b.wait(`byID("live").dataset.state === "live"`)
	b.submit() // the second frame is shown, though what was asked for at the first is not there
	b.wait(`byID("jobs-rows").rows.length`)
	var told string
	b.value(`byID("list").innerText + byID("letters").innerText + byID("totals").innerText`, &told)
	require.NotContains(t, told, "No ")
	require.Contains(t, told, "webhooks given up\n–")
	b.Run(`window.letGo()`, nil)
	b.wait(`byID("list-rows").rows.length === 2 && byID("letters-empty").innerText === "No message was given up."`)
	b.wait(`byID("list-empty").hidden && byID("totals").innerText.includes("webhooks given up\n0")`)
}

func TestADashboardThatWasCutOffSaysSoAndComesBack(t *testing.T) {
	b := newBoard(t, mappedReport)
	b.submit()
	b.open("")
	b.wait(`byID("list-rows").rows.length === 1`)
	b.Kill()
	b.wait(`text("live").includes("trying again") && text("banners").includes("as of")`)
	b.wait(`text("list-rows").includes("job-1")`) // what is known stays
	b.Start()
	b.wait(`text("live") === "Live" && !text("banners")`)
	b.submit()
	b.wait(`byID("list-rows").rows.length === 2`)
}

func TestTheDashboardSendsAgainOrDiscardsWhatWasGivenUp(t *testing.T) {
	var mu sync.Mutex
	code := http.StatusGone
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(code)
	}))
	defer receiver.Close()
	b := newBoard(t, hooked(mappedReport, "webhook "+receiver.URL+"/hook {\nsecret "+hookSecret+"\nevents completed\nallow_private\n}"))
	for range 2 {
		_, jobID := b.submit()
		b.backend.Finishes(jobID)
	}
	for given := 0; given < 2; {
		_, answer := b.asks("GET", "webhooks")
		given = len(answer["messages"].([]any))
	}
	b.open("")
	b.wait(`byID("letters-rows").rows.length === 2 && text("totals").includes("webhooks given up\n2") && text("letters-rows").includes("/hook")`)
	b.click("#letters-rows button:nth-child(2)")
	b.click("#confirm-yes")
	b.wait(`byID("letters-rows").rows.length === 1`)
	mu.Lock()
	code = http.StatusOK
	mu.Unlock()
	b.click("#letters-rows button:nth-child(1)")
	b.click("#confirm-yes")
	b.wait(`byID("letters-rows").rows.length === 0 && !byID("letters-empty").hidden`)
	for left := 1; left > 0; {
		_, answer := b.asks("GET", "webhooks?all=true")
		left = len(answer["messages"].([]any))
	}
}

func TestAPageOfAnotherSiteDoesNothing(t *testing.T) {
	b := newBoard(t, strings.ReplaceAll(mappedReport, "100ms", "1h"))
	id, _ := b.submit()
	for _, site := range []string{"cross-site", "same-site"} {
		code, answer := b.asks("POST", id+"/end", "Sec-Fetch-Site", site)
		require.Equal(t, http.StatusForbidden, code)
		require.Contains(t, answer["detail"], "a page of another site")
		code, _ = b.asks("DELETE", "webhooks/x", "Sec-Fetch-Site", site)
		require.Equal(t, http.StatusForbidden, code)
	}
	code, _ := b.asks("POST", id+"/end", "Origin", "http://evil.example")
	require.Equal(t, http.StatusForbidden, code)

	b.Visit("http://" + b.to + "/reports/files/evil.txt") // a page of the backend: same host, another port
	b.Run(`
		const end = args[0] + "/end"
		for (const mode of ["cors", "no-cors"]) for (const referrerPolicy of ["no-referrer", "unsafe-url"]) {
			await fetch(end, { method: "POST", mode, referrerPolicy, body: "{}" }).catch(() => {})
		}
		navigator.sendBeacon(end, "{}")
		const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), { name: "frame" }))
		const form = document.body.appendChild(Object.assign(document.createElement("form"), { method: "post", action: end, target: "frame" }))
		await new Promise(done => { frame.onload = done; form.submit() })
		await new Promise(done => { frame.onload = done; frame.src = args[1] })
		let inside
		try { inside = frame.contentDocument?.body?.innerText } catch {}
		if (inside) throw new Error("the dashboard is in a frame of another site")`, nil, b.at(id), b.at("dashboard"))
	_, answer := b.asks("GET", id)
	require.NotContains(t, []any{"FAILED", "CANCELED"}, answer["intent"].(map[string]any)["status"])
}

// TestTheDashboardOnManyIntentsStaysSmallAndCalm has them report news all the time.
func TestTheDashboardOnManyIntentsStaysSmallAndCalm(t *testing.T) {
	const most, clients = 50 << 20, 50
	begun, intents := time.Now(), int(soak.Number(t, "INTENTS_ACTIVE", 2000))
	b := newBoard(t, strings.NewReplacer("100ms", "5s", "50ms", "5s").Replace(mappedReport))
	var submits sync.WaitGroup
	for range clients {
		submits.Go(func() {
			for range intents / clients {
				resp := b.do("POST", "/reports/generate", `{}`)
				resp.Body.Close()
			}
		})
	}
	submits.Wait()
	b.open("")
	running := intents / clients * clients
	b.wait(fmt.Sprintf(`text("totals").replace(",", "").includes("running\n%d") && byID("list-rows").rows.length === 100`, running))
	b.Run(`
		window.updates = []
		new MutationObserver(() => updates.push(performance.now())).observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true, attributes: true })`, nil)
	for i := range 12 {
		for n := range intents {
			b.backend.Says(fmt.Sprintf("job-%d", n+1), "running", i)
		}
		b.Run(`await new Promise(done => setTimeout(done, 1000))`, nil)
	}
	var gaps []float64
	b.value(`updates.slice(1).map((at, i) => at - updates[i])`, &gaps)
	require.GreaterOrEqual(t, len(gaps), 8, "it is alive")
	for _, gap := range gaps {
		require.Greater(t, gap, 900.0, "at most one update per second: %v", gaps)
	}
	b.click("#older")
	b.wait(`text("list-note").startsWith("101 to 200")`)
	b.click("#list-rows a")
	b.wait(`text("detail").includes("Timeline")`)
	used := b.heap()
	t.Logf("%d intents: heap %.1f MiB, %d updates in 12 s, all in %s", running, float64(used)/(1<<20), len(gaps)+1, time.Since(begun).Round(time.Second))
	require.Less(t, used, most)
}

// TestTheDashboardCommandShowsAnAdminEndpointThatLetsNoBrowserIn has one with Caddy's
// defaults.
func TestTheDashboardCommandShowsAnAdminEndpointThatLetsNoBrowserIn(t *testing.T) {
	p := newProcess(t)
	p.configure(strings.ReplaceAll(mappedReport, "100ms", "1h"))
	p.Start()
	id, _ := p.submit()
	window, addr := caddytest.NewProcess(t), caddytest.FreeAddr(t)
	window.Begin(window.Command("intents", "dashboard", "--address", p.Admin, "--listen", addr, "--store", "bolt:"+p.store))
	window.Log.Wait(t, "Open http://"+addr+"/intents/dashboard")

	b := &board{Browser: browsertest.Open(t), process: p}
	b.Visit("http://" + p.Admin + "/intents/dashboard")
	b.wait(`document.body.innerText.includes("not allowed to access from origin ''")`)
	b.Visit("http://" + addr)
	b.wait(`location.pathname === "/intents/dashboard" && byID("live").dataset.state === "live" && byID("list-rows").rows.length === 1`)
	b.click("#list-rows a")
	b.wait(`document.querySelector("aside .actions")?.checkVisibility()`)
	b.click("aside .danger")
	b.click("#confirm-yes")
	b.wait(`document.querySelector("aside .badge").innerText === "Failed"`)

	ask := func(method, path string, change func(*http.Request)) int {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, nil)
		require.NoError(t, err)
		change(r)
		resp, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Equal(t, http.StatusOK, ask("GET", "/intents/"+id, func(*http.Request) {}))
	require.Equal(t, http.StatusForbidden, ask("GET", "/intents/"+id, func(r *http.Request) { r.Host = "rebound.example" }))
	require.Equal(t, http.StatusForbidden, ask("POST", "/intents/drain", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }))
	require.Equal(t, http.StatusForbidden, ask("POST", "/intents/drain", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }))
	require.Equal(t, http.StatusNotFound, ask("GET", "/config/", func(*http.Request) {}), "no more than the dashboard needs can be reached")

	window.Terminate()
	require.Zero(t, window.ExitCode())
	open, err := p.Run("intents", "dashboard", "--listen", ":0")
	require.Error(t, err)
	require.Contains(t, open, "can be reached from elsewhere")
}
