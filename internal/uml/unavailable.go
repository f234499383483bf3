package uml

import "fmt"

// Unavailable says, in one sentence, why this machine cannot have the rig. It is nobody's
// mistake: tests skip themselves with it on a person's machine.
type Unavailable struct {
	Why string
	Err error // what the sentence was made of, or nil
}

func (u *Unavailable) Error() string {
	if u.Err == nil {
		return u.Why
	}
	return u.Why + ": " + u.Err.Error()
}

// Unwrap returns Err.
func (u *Unavailable) Unwrap() error { return u.Err }

func unavailable(err error, format string, args ...any) error {
	return &Unavailable{fmt.Sprintf(format, args...), err}
}
