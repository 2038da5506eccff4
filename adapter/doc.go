// Package adapter knows how job APIs are spoken: it compiles what an operator
// wrote about one, makes the requests to it, and reads what its answers mean in
// the words of package intent.
package adapter
