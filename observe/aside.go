package observe

// aside runs f on a stack of its own and returns what it does. Reading from a store and
// writing to a client go deep, and a stack that has grown once stays grown: thousands of
// streams would each hold 8 KiB more for what they do now and then. What f panics with,
// aside does.
func aside[T any](f func() T) (result T) {
	over := make(chan any, 1) // f is waited for, whatever becomes of it
	go func() {
		defer func() { over <- recover() }()
		result = f()
	}()
	if p := <-over; p != nil {
		panic(p)
	}
	return result
}
