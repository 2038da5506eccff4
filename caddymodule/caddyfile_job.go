package caddymodule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// A jobParser makes a job of one job block.
type jobParser struct {
	job    *Job
	places places
}

func newJobParser(at caddyfile.Token) *jobParser {
	return &jobParser{job: new(Job), places: placesIn(at)}
}

// parse parses a job block. Syntax:
//
//	job <name> {
//	    preset     <name>
//	    preset_file <path>
//	    submit     [<method>] <path> {
//	        refused when <expression>
//	        final   when <expression>
//	    }
//	    status     [<method>] [<target>] {
//	        header <name> <value>
//	        body   <text>
//	    }
//	    status_url <expression>
//	    next_url   <expression>
//	    cancel     [<method>] [<target>] {
//	        header <name> <value>
//	        body   <text>
//	        accept <codes...>
//	        over   <codes...>
//	    }
//	    job_id     <expression>
//	    param      <name> <expression>
//	    state      [<expression>|auto] {
//	        <status>|retry|gone when <expression>
//	        <status> <words...>
//	    }
//	    progress   <expression>
//	    progress   fraction <expression>
//	    progress   count <done> <total>
//	    message    <expression>
//	    result     <expression>
//	    result     fetch [<method>] <target>|<expression> {
//	        header <name> <value>
//	        body   <text>
//	        failed when <expression>
//	    }
//	    error      <expression>
//	    then {
//	        <status, status_url, cancel, param, state, progress, message, result, error>
//	    }
//	    poll       [<interval>] {
//	        first        <duration>
//	        max_interval <duration>
//	        backoff      <factor>
//	        jitter       <percent>
//	        timeout      <duration>
//	        give_up      <duration>
//	        grace        <duration>
//	        wait         <query>
//	        batch        [<method>] <target> {
//	            header   <name> <value>
//	            body     <text>
//	            max      <jobs>
//	            elements <expression>
//	            id       <expression>
//	            keyed    id|state
//	        }
//	    }
//	    copy_headers <names...>
//	    deadline   <duration> [cancel]
//	    queue      [<duration>] {
//	        max          <submits>
//	        on_uncertain fail|resubmit|lookup [[<method>] <target>] {
//	            header <name> <value>
//	            body   <text>
//	            job_id <expression>
//	        }
//	    }
//	    webhook    [<url>] {
//	        secret <whsec_...>
//	        events <names...>
//	        allow_private
//	    }
//	    respond    merge|untouched|intent
//	    offload    on|off|<duration>
//	    adopt      on|off
//	}
//
// An expression is one argument: with spaces in it, it stands in backticks.
func (p *jobParser) parse(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("job: its name is missing; write `job <name> {`")
	}
	p.job.Name = d.Val()
	if d.NextArg() {
		return d.Errf("job: takes one name, and %q is one more", d.Val())
	}
	return p.places.note(block{
		"preset":       p.first(textTo(&p.job.Preset)),
		"preset_file":  p.first(textTo(&p.job.PresetFile)),
		"submit":       p.parseSubmit,
		"status":       endpointTo(&p.job.Status),
		"status_url":   textTo(&p.job.StatusURL),
		"next_url":     textTo(&p.job.NextURL),
		"cancel":       cancelTo(&p.job.Cancel),
		"job_id":       textTo(&p.job.JobID),
		"param":        paramTo(&p.job.Params),
		"state":        p.parseState,
		"progress":     progressTo(&p.job.Progress),
		"message":      textTo(&p.job.Message),
		"result":       resultTo(&p.job.Result),
		"error":        textTo(&p.job.Error),
		"then":         p.parseThen,
		"poll":         p.parsePoll,
		"copy_headers": listTo(&p.job.CopyHeaders, "names of headers, for example Authorization Cookie"),
		"deadline":     p.parseDeadline,
		"queue":        p.parseQueue,
		"webhook":      p.parseWebhook,
		"respond":      textTo(&p.job.Respond),
	}.with(p.job.OwnURLs.words())).parse(d, "job "+p.job.Name, "param", "webhook")
}

// first parses a word that has to stand before the others: what follows it is read
// as what differs from it.
func (p *jobParser) first(parse func(*caddyfile.Dispenser) error) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		if len(p.places.words) > 1 { // its own is noted already
			return d.Errf("%s: has to be the first line of the job", d.Val())
		}
		return parse(d)
	}
}

// check compiles the job as the handler would, and says where a mistake stands.
func (p *jobParser) check(h *Handler) error {
	compiled, err := p.job.compile(adapter.Options{AllowHosts: h.AllowHost}, unheard)
	if err == nil {
		err = h.distinct(compiled)
		h.jobs = append(h.jobs, compiled)
	}
	if err == nil {
		return nil
	}
	// Every error of a job begins with the word that it is about.
	return fmt.Errorf("job %s: %w", p.job.Name, p.places.locate(err))
}

func (p *jobParser) parseSubmit(d *caddyfile.Dispenser) error {
	method, path, err := methodAndTarget(d)
	p.job.Submit = adapter.Route{Method: method, Path: path}
	if err == nil && path == "" {
		err = d.Err("submit: its path is missing; write for example `submit POST /reports`")
	}
	if err != nil {
		return err
	}
	return block{
		"refused": conditionTo(&p.job.Submit.RefusedWhen),
		"final":   conditionTo(&p.job.Submit.FinalWhen),
	}.parse(d, "submit")
}

// conditionTo parses `when <expression>`.
func conditionTo(to *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		args := d.RemainingArgs()
		if len(args) != 2 || args[0] != "when" {
			return d.Errf("%s: write `%s when` and one expression; put it in backticks", word, word)
		}
		*to = args[1]
		return nil
	}
}

func paramTo(to *map[string]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Err("param: write `param <name> <expression>`; an expression with spaces stands in backticks")
		}
		if _, twice := (*to)[args[0]]; twice {
			return d.Errf("param: %s stands twice", args[0])
		}
		if *to == nil {
			*to = make(map[string]string)
		}
		(*to)[args[0]] = args[1]
		return nil
	}
}

func (p *jobParser) parseThen(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("then: takes a block, and %q is too much", d.Val())
	}
	h := new(adapter.Hop)
	p.job.Then = h
	return block{
		"status":     endpointTo(&h.Status),
		"status_url": textTo(&h.StatusURL),
		"cancel":     cancelTo(&h.Cancel),
		"param":      paramTo(&h.Params),
		"state":      stateTo(&h.State, "auto"),
		"progress":   progressTo(&h.Progress),
		"message":    textTo(&h.Message),
		"result":     resultTo(&h.Result),
		"error":      textTo(&h.Error),
	}.parse(d, "then", "param")
}

func (p *jobParser) parseState(d *caddyfile.Dispenser) error {
	usual := "auto"
	if p.job.hasPreset() {
		usual = "" // what is written adds to the preset's
	}
	return stateTo(&p.job.State, usual)(d)
}

// stateTo parses a state, whose expression is usual if none is written.
func stateTo(to **adapter.State, usual string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		s := &adapter.State{Expr: usual}
		*to = s
		if args := d.RemainingArgs(); len(args) == 1 {
			s.Expr = args[0]
		} else if len(args) > 1 {
			return d.Errf("state: takes one expression, and %q is one more; put it in backticks", args[1])
		}
		words := make(block)
		for _, name := range adapter.RuleNames() {
			words[name] = func(d *caddyfile.Dispenser) error { return parseStateWords(d, s, name) }
		}
		return words.parse(d, "state", adapter.RuleNames()...)
	}
}

func parseStateWords(d *caddyfile.Dispenser, s *adapter.State, status string) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0 && slices.Contains(adapter.StatusNames(), status):
		return d.Errf("state: %s needs the backend's words for it, or `when` and an expression", status)
	case len(args) == 2 && args[0] == "when":
		s.Rules = append(s.Rules, adapter.Rule{Status: status, When: args[1]})
	case len(args) > 0 && args[0] == "when":
		return d.Errf("state: `%s when` takes one expression; put it in backticks", status)
	case !slices.Contains(adapter.StatusNames(), status):
		return d.Errf("state: %s is no status that a word can mean; write `%s when` and an expression", status, status)
	default:
		if s.Words == nil {
			s.Words = make(map[string][]string)
		}
		s.Words[status] = append(s.Words[status], args...)
	}
	return nil
}

func progressTo(to **adapter.Progress) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		switch {
		case len(args) == 1:
			*to = &adapter.Progress{Percent: args[0]}
		case len(args) == 2 && args[0] == "fraction":
			*to = &adapter.Progress{Fraction: args[1]}
		case len(args) == 3 && args[0] == "count":
			*to = &adapter.Progress{Done: args[1], Total: args[2]}
		default:
			return d.Err("progress: write `progress <expression>`, `progress fraction <expression>` or `progress count <done> <total>`; an expression with spaces stands in backticks")
		}
		return nil
	}
}

func resultTo(to **adapter.Result) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 1 {
			*to = &adapter.Result{Expr: args[0]}
			return block{"failed": conditionTo(&(*to).FailedWhen)}.parse(d, "result")
		}
		if len(args) < 2 || args[0] != "fetch" || len(args) > 3 {
			return d.Err("result: write `result <expression>` or `result fetch [<method>] <path or expression>`; an expression with spaces stands in backticks")
		}
		fetch := new(adapter.Endpoint)
		if len(args) == 3 {
			fetch.Method = args[1]
		}
		r := &adapter.Result{Fetch: fetch}
		if from := args[len(args)-1]; strings.HasPrefix(from, "/") || strings.HasPrefix(from, "{") {
			fetch.Target = from
		} else {
			r.FetchURL = from
		}
		*to = r
		return requestBlock(fetch).with(block{"failed": conditionTo(&r.FailedWhen)}).parse(d, "result fetch", "header")
	}
}

func (p *jobParser) parsePoll(d *caddyfile.Dispenser) error {
	poll := new(Poll)
	p.job.Poll = poll
	if d.NextArg() {
		d.Prev()
		if err := durationTo(&poll.Interval)(d); err != nil {
			return err
		}
	}
	return block{
		"first":        durationTo(&poll.First),
		"max_interval": durationTo(&poll.MaxInterval),
		"backoff":      numberTo(&poll.Backoff),
		"jitter":       percentTo(&poll.Jitter),
		"timeout":      durationTo(&poll.Timeout),
		"give_up":      durationTo(&poll.GiveUp),
		"grace":        durationTo(&poll.Grace),
		"wait":         textTo(&poll.Wait),
		"batch":        batchTo(&poll.Batch),
	}.parse(d, "poll")
}

func (p *jobParser) parseDeadline(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 2 && args[1] == "cancel" {
		p.job.CancelAtDeadline = true
		args = args[:1]
	}
	if len(args) != 1 {
		return d.Err("deadline: write `deadline <duration>` or `deadline <duration> cancel`")
	}
	value, err := parseDuration(args[0])
	if err != nil {
		return d.Errf("deadline: %q is not a positive duration; write for example 2h or 1d", args[0])
	}
	p.job.Deadline = value
	return nil
}
