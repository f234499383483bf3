package p9

import "sync"

// tree knows the names of the files that are in use, and keeps the promises that p9.File makes
// about what runs beside what. A node exists as long as a fid stands for it or for something
// below it: what a client asks for in vain leaves nothing behind.
//
// Concurrent files take no locks. Their nodes serve only Tremove and Trename, which name a file
// by its fid.
type tree struct {
	// global is held for writing by what changes names, for reading by the rest. Taken before
	// node.op; of two nodes, the one nearer to the root is first.
	global sync.RWMutex

	mu   sync.Mutex // last: guards what the nodes are made of
	root pathNode

	// To be used again: a walk allocates what p9.File makes it, and nothing for the books.
	spareNodes []*pathNode
	spareFids  []*fid
}

const keepSpare = 256

type pathNode struct {
	op sync.RWMutex // the read and write promises of p9.File

	// Guarded by tree.mu.
	parent   *pathNode // nil: the root, or deleted
	name     string
	children map[string]*pathNode
	uses     int  // fids, children and requests
	fids     *fid // list of those that stand for it
	deleted  bool // the name is gone; the file may not be
}

// child finds or makes the node of a name, and takes a use of it.
func (t *tree) child(dir *pathNode, name string) *pathNode {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := dir.children[name]; n != nil {
		n.uses++
		return n
	}
	var n *pathNode
	if k := len(t.spareNodes); k > 0 {
		n, t.spareNodes = t.spareNodes[k-1], t.spareNodes[:k-1]
	} else {
		n = new(pathNode)
	}
	n.name, n.uses, n.deleted = name, 1, dir.deleted
	if !dir.deleted {
		t.enter(dir, n)
	}
	return n
}

func (t *tree) enter(dir, n *pathNode) {
	if dir.children == nil {
		dir.children = make(map[string]*pathNode)
	}
	dir.children[n.name] = n
	n.parent = dir
	dir.uses++
}

// name is the name as a string, without making one if it is in use.
func (t *tree) name(dir *pathNode, name []byte) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := dir.children[string(name)]; n != nil {
		return n.name
	}
	return string(name)
}

// existing is child for a name that may not be in use: then it is nil.
func (t *tree) existing(dir *pathNode, name []byte) *pathNode {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := dir.children[string(name)]
	if n != nil {
		n.uses++
	}
	return n
}

// use takes a use of a node that has one.
func (t *tree) use(n *pathNode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.uses++
}

// another takes one more use of a fid's node, and a reference to its parent.
func (t *tree) another(f *fid) (*pathNode, *fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.node.uses++
	if f.parent != nil {
		f.parent.get()
	}
	return f.node, f.parent
}

// release gives up a use.
func (t *tree) release(n *pathNode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(n)
}

func (t *tree) drop(n *pathNode) {
	for n != nil {
		if n.uses--; n.uses > 0 || n == &t.root {
			return
		}
		dir := n.parent
		if dir != nil {
			t.leave(n)
		}
		if len(t.spareNodes) < keepSpare {
			n.name, n.children = "", nil
			t.spareNodes = append(t.spareNodes, n)
		}
		n = dir
	}
}

// leave takes a node out of its directory, whose use is the caller's to give up.
func (t *tree) leave(n *pathNode) {
	delete(n.parent.children, n.name)
	n.parent = nil
}

// fid is a fid to be filled in.
func (t *tree) fid() *fid {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.spareFids); n > 0 {
		f := t.spareFids[n-1]
		t.spareFids = t.spareFids[:n-1]
		return f
	}
	return new(fid)
}

// spare takes a fid that nobody knows any more.
func (t *tree) spare(f *fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spareFids) < keepSpare {
		*f = fid{}
		t.spareFids = append(t.spareFids, f)
	}
}

// join makes a fid stand for its node.
func (t *tree) join(f *fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := f.node
	if f.next = n.fids; f.next != nil {
		f.next.prev = f
	}
	n.fids = f
}

// part ends that, and returns the reference to the parent.
func (t *tree) part(f *fid) (parent *fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := f.node
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		n.fids = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	t.drop(n)
	return f.parent
}

// place is where a fid is: its directory, with a reference, and its name there. It is not ok at
// the root and for what was deleted.
func (t *tree) place(f *fid) (parent *fid, name string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.node.deleted || f.parent == nil {
		return nil, "", false
	}
	return f.parent.get(), f.node.name, true
}

func (t *tree) deleted(f *fid) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return f.node.deleted
}

// remove notes that a name was deleted.
func (t *tree) remove(dir *pathNode, name []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(dir, name)
}

func (t *tree) forget(dir *pathNode, name []byte) {
	if n := dir.children[string(name)]; n != nil {
		t.leave(n)
		n.doom()
		t.drop(dir)
	}
}

// doom marks a node and all below it.
func (n *pathNode) doom() {
	n.deleted = true
	for _, c := range n.children {
		c.doom()
	}
}

// A renaming is a File that has to be told where it is now.
type renaming struct {
	file, dir *fid // with references
	name      string
}

// move notes that a name has become another, and returns who has to be told of it and the
// references that are not needed any more.
func (t *tree) move(from *pathNode, oldname []byte, to *fid, newname []byte) (tell []renaming, old []*fid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := from.children[string(oldname)]
	if n != nil && n == to.node.children[string(newname)] {
		return nil, nil
	}
	to.node.uses++ // it must not go with its last child
	defer t.drop(to.node)
	t.forget(to.node, newname)
	if n == nil {
		return nil, nil
	}
	t.leave(n)
	defer t.drop(from)
	for up := to.node; up != nil; up = up.parent {
		if up == n { // a directory below itself: no file system can mean that
			n.doom()
			return nil, nil
		}
	}
	if to.node.deleted { // its fids may be below those of n: nothing may hold on to them
		n.doom()
		return nil, nil
	}
	n.name = string(newname)
	t.enter(to.node, n)
	for f := n.fids; f != nil; f = f.next {
		if f.parent != nil {
			old = append(old, f.parent)
		}
		f.parent = to.get()
	}
	return n.audience(nil), old
}

// audience lists the fids of a node and all below it whose Files care about names.
func (n *pathNode) audience(list []renaming) []renaming {
	for f := n.fids; f != nil; f = f.next {
		// One without references is about to close its File, and to wait for the tree.
		if !f.concurrent && f.parent != nil && f.alive() {
			list = append(list, renaming{file: f, dir: f.parent.get(), name: n.name})
		}
	}
	for _, c := range n.children {
		list = c.audience(list)
	}
	return list
}

// alive takes a reference, unless the last one was given up.
func (f *fid) alive() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// The locks of a fid, for the promises "read" and "write" of p9.File.

func (f *fid) rlock() {
	if !f.concurrent {
		f.dev.tree.global.RLock()
		f.node.op.RLock()
	}
}

func (f *fid) runlock() {
	if !f.concurrent {
		f.node.op.RUnlock()
		f.dev.tree.global.RUnlock()
	}
}

func (f *fid) lock() {
	if !f.concurrent {
		f.dev.tree.global.RLock()
		f.node.op.Lock()
	}
}

func (f *fid) unlock() {
	if !f.concurrent {
		f.node.op.Unlock()
		f.dev.tree.global.RUnlock()
	}
}
