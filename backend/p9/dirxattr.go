package p9

import (
	"bytes"
	"strings"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// maxXattr is the most that Linux lets a value, or a list of names, have.
const maxXattr = 64 << 10

// xattr tells what the driver may do with an extended attribute.
//
// user.* is its own. File capabilities and access lists are like modes: they concern what users
// may do, who must be the host's own then, neither squashed nor mapped. Everything else (labels
// and signatures that the host's security rests on, trusted.*, with which overlayfs can be led
// anywhere) is not there for it. Capabilities can always be seen and dropped, since kernels do
// so when they write to a file.
func (x *Export) xattr(name string) (see, set, drop bool) {
	same := x.squash == nil && len(x.uids) == 0 && len(x.gids) == 0
	switch {
	case len(name) > maxName:
	case strings.HasPrefix(name, "user."):
		return true, true, true
	case name == "security.capability":
		return true, same, true
	case name == "system.posix_acl_access", name == "system.posix_acl_default":
		return same, same, same
	}
	return false, false, false
}

// GetXattr returns a copy that is independent of the File. No such attribute is ENODATA, one
// that is not for the driver EOPNOTSUPP.
func (f *dirFile) GetXattr(name string) ([]byte, error) {
	if see, _, _ := f.x.xattr(name); !see {
		return nil, unix.EOPNOTSUPP
	}
	path := proc(f.fd)
	return sized(func(b []byte) (int, error) { return unix.Getxattr(path, name, b) })
}

// ListXattrs returns the names that GetXattr knows.
func (f *dirFile) ListXattrs() ([]string, error) {
	path := proc(f.fd)
	list, err := sized(func(b []byte) (int, error) { return unix.Listxattr(path, b) })
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if see, _, _ := f.x.xattr(string(name)); see {
			names = append(names, string(name))
		}
	}
	return names, nil
}

// sized calls get for the size, and again for the contents; if they grew meanwhile, once more.
func sized(get func(b []byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		if n > maxXattr {
			return nil, unix.E2BIG
		}
		b := make([]byte, n)
		n, err = get(b)
		if err == unix.ERANGE {
			continue
		}
		return b[:max(n, 0)], err
	}
}

// SetXattr sets the value; flags are none, p9.XattrCreate or p9.XattrReplace.
func (f *dirFile) SetXattr(name string, value []byte, flags p9.XattrFlags) error {
	if f.x.readOnly {
		return unix.EROFS
	}
	if _, set, _ := f.x.xattr(name); !set {
		return unix.EOPNOTSUPP
	}
	if len(value) > maxXattr {
		return unix.E2BIG
	}
	if flags&^(p9.XattrCreate|p9.XattrReplace) != 0 {
		return unix.EINVAL
	}
	return unix.Setxattr(proc(f.fd), name, value, int(flags))
}

func (f *dirFile) RemoveXattr(name string) error {
	if f.x.readOnly {
		return unix.EROFS
	}
	if _, _, drop := f.x.xattr(name); !drop {
		return unix.EOPNOTSUPP
	}
	return unix.Removexattr(proc(f.fd), name)
}
