package notify

// token is a pending ring inside this process: at most one, however often it was
// posted.
type token chan struct{}

func newToken() token { return make(token, 1) }

// post leaves the token and reports whether it was not already there.
func (t token) post() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// take consumes the token if there is one.
func (t token) take() bool {
	select {
	case <-t:
		return true
	default:
		return false
	}
}
