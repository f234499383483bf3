package main

import (
	"html/template"
	"net/http"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<title>board</title>
<h1>The board</h1>
<table>
<tr><td>address<td>{{.CID}}
<tr><td>up for<td>{{.Uptime}}
<tr><td>led<td>{{.LED}}
<tr><td>shells<td>{{.Shells}}
<tr><td>views<td>{{.Views}}
</table>
`))

// pageOf shows how the board is, to whoever asks.
func pageOf(b *board) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		page.Execute(w, map[string]any{ // its error is the reader's loss
			"CID": b.sockets.CID(), "Uptime": b.uptime(), "LED": b.ledState(),
			"Shells": b.shells.Load(), "Views": b.pages.Add(1),
		})
	})
	return m
}
