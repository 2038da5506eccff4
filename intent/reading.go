package intent

import "encoding/json"

// A Reading is what one status answer of the backend said, in our words. An
// answer that could not be read makes no Reading.
type Reading struct {
	Status       Status          // InProgress, or one of the terminal ones
	UnknownState string          // the backend's word, if the config does not map it
	Progress     *float64        // percent, 0 to 100; nil if not told
	Message      string          // "" if not told
	Result       json.RawMessage // of a COMPLETED reading
	ResultURL    string          // of a COMPLETED reading; instead of Result
	Error        *Error          // of a reading that ended otherwise
}
