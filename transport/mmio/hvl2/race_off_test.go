//go:build !race

package hvl2

const raceEnabled = false
