package main

import "io"

const frontendName = "frontend"

func frontendCommand(args []string, stdout, stderr io.Writer) error { return nil }
func demoCommand(args []string, stdout, stderr io.Writer) error     { return nil }
