package vsock

import "bytes"

// ring holds the bytes that the driver sent and the application did not take yet. It has memory
// only while it has contents, as much as they need.
type ring struct {
	stock *stock
	buf   []byte // a power of two long, or nil
	marks []byte // of SEQPACKET: beside the last byte of each message, its flags
	start int
	n     int
	lent  []byte // the memory that peek showed, until it is taken
}

// room makes room for n more bytes and returns where they go: two pieces, around the end.
func (r *ring) room(n int, marked bool) (a, b []byte) {
	if r.n+n > len(r.buf) {
		r.grow(r.n+n, marked)
	}
	from := (r.start + r.n) & (len(r.buf) - 1)
	to := from + n
	if marked {
		clear(r.marks[from:min(to, len(r.marks))])
		clear(r.marks[:max(0, to-len(r.marks))])
	}
	if to <= len(r.buf) {
		return r.buf[from:to], nil
	}
	return r.buf[from:], r.buf[:to-len(r.buf)]
}

// grow moves the contents to memory for n bytes.
func (r *ring) grow(n int, marked bool) {
	bigger := r.stock.get(n)
	move(bigger, r.buf, r.start, r.n)
	if marked {
		marks := r.stock.get(len(bigger))
		move(marks, r.marks, r.start, r.n)
		if r.marks != nil {
			r.stock.put(r.marks)
		}
		r.marks = marks
	}
	if r.buf != nil && r.lent == nil {
		r.stock.put(r.buf)
	}
	r.buf, r.start = bigger, 0
}

func move(to, from []byte, start, n int) {
	if n > 0 {
		k := copy(to[:n], from[start:])
		copy(to[k:n], from)
	}
}

// filled adds the bytes that were put where room said.
func (r *ring) filled(n int) { r.n += n }

// mark marks the last byte as the end of a message.
func (r *ring) mark(flags byte) { r.marks[(r.start+r.n-1)&(len(r.buf)-1)] = flags }

// message is the length of the first message, its end included, and its flags; 0 when its end
// is not there yet.
func (r *ring) message() (n int, flags byte) {
	for n < r.n {
		at := (r.start + n) & (len(r.buf) - 1)
		piece := r.marks[at:min(len(r.marks), at+r.n-n)]
		i := len(piece)
		for _, m := range []byte{endOfMessage, endOfMessage | endOfRecord} {
			if k := bytes.IndexByte(piece[:i], m); k >= 0 {
				i = k
			}
		}
		if i < len(piece) {
			return n + i + 1, piece[i]
		}
		n += len(piece)
	}
	return 0, 0
}

// read takes bytes into p.
func (r *ring) read(p []byte) int {
	n := min(len(p), r.n)
	move(p[:n], r.buf, r.start, n)
	r.take(n)
	return n
}

// peek shows all bytes, in two pieces. They stay where they are until unpeek.
func (r *ring) peek() (a, b []byte) {
	r.lent = r.buf
	end := r.start + r.n
	if end <= len(r.buf) {
		return r.buf[r.start:end], nil
	}
	return r.buf[r.start:], r.buf[:end-len(r.buf)]
}

// unpeek removes n bytes of those that peek showed.
func (r *ring) unpeek(n int) {
	lent := r.lent
	r.lent = nil
	if r.buf == nil || &lent[0] != &r.buf[0] { // outgrown or dropped meanwhile
		r.stock.put(lent)
	}
	r.take(min(n, r.n))
}

// take removes n bytes, and gives the memory back with the last.
func (r *ring) take(n int) {
	r.n -= n
	if r.n == 0 {
		r.drop()
	} else {
		r.start = (r.start + n) & (len(r.buf) - 1)
	}
}

// drop forgets the contents and gives the memory back; what is lent goes with unpeek.
func (r *ring) drop() {
	if r.buf != nil && r.lent == nil {
		r.stock.put(r.buf)
	}
	if r.marks != nil {
		r.stock.put(r.marks)
	}
	r.buf, r.marks, r.start, r.n = nil, nil, 0, 0
}

// copy copies bytes to p, which stay where they are.
func (r *ring) copy(p []byte) { move(p, r.buf, r.start, len(p)) }
