package main

// hello needs no device: the host says something, and the guest says it again.
var _ = job("hello", func(g *guest) error {
	var text string
	if err := g.hear("hello", &text); err != nil {
		return err
	}
	return g.say("hello", text)
})
