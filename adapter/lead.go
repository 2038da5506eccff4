package adapter

// MayNameJob tells from the head of an answer to a submit whether it has to be
// read: any other answer names no job.
func (j *Job) MayNameJob(a Answer) bool { return j.mayBeJob(a) }

// StatusNames lists the statuses that a job's state can mean, as config writes them.
func StatusNames() []string {
	return []string{"in_progress", "completed", "failed", "canceled", "timed_out"}
}
