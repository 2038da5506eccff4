package adapter

// MayNameJob tells from the head of an answer to a submit whether it has to be
// read: any other answer names no job.
func (j *Job) MayNameJob(a Answer) bool { return j.mayBeJob(a) }
