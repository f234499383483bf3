package vring

// releaseUsed stores flags and index after every element before them: a store-release.
func (q *Queue) releaseUsed() { q.storeUsed() }
