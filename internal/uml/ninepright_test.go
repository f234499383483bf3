package uml

// rights are what people may do to files, a call a line, in the manner of pjdfstest. Ada and Bob
// are both of group 2000, Eve is not. Folders begin as root's, with mode 755.
var rights = []struct{ name, calls string }{
	{"owner", `
		root chmod . 01777
		ada create f 0644
		ada owner f 1001 1001
		ada mkdir d 0750
		bob owner d 1001 1001
		ada symlink l f
		ada owner l 1001 1001
		ada mknod p 010600
		ada owner p 1001 1001
		root create r 0600
		root owner r 0 0
		ada mode f 0644
		ada mode d 0750`},
	{"group of a folder", `
		root mkdir d 02777
		root chown d 0 2000
		root chmod d 02777
		ada create d/f 0644
		ada owner d/f 1001 2000
		eve mkdir d/s 0755
		eve owner d/s 1003 2000
		eve mode d/s 02755`},
	{"read and write", `
		root chmod . 0777
		ada create f 0640
		ada chown f -1 2000
		ada open f rw
		bob open f r
		bob open f w = EACCES
		eve open f r = EACCES
		root open f rw
		bob truncate f 1 = EACCES
		ada truncate f 1
		ada chmod f 0060
		ada open f r = EACCES
		bob open f rw
		bob open f trunc
		eve open f r = EACCES
		ada chmod f 0000
		root read f
		bob read f = EACCES`},
	{"folders", `
		root chmod . 0777
		ada mkdir d 0755
		ada create d/f 0666
		bob create d/g 0644 = EACCES
		bob mkdir d/g 0755 = EACCES
		bob symlink d/g f = EACCES
		bob link d/f d/g = EACCES
		bob unlink d/f = EACCES
		bob rename d/f d/g = EACCES
		bob rename d/f g = EACCES
		bob open d/f rw
		ada chmod d 0644
		bob open d/f r = EACCES
		bob mode d/f 0666 = EACCES
		bob list d
		ada chmod d 0711
		bob open d/f r
		bob list d = EACCES
		root list d
		ada chmod d 0770
		ada chown d -1 2000
		bob create d/g 0644
		eve list d = EACCES
		eve mkdir d/h 0755 = EACCES
		bob unlink d/f
		bob unlink d/g
		eve rmdir d`},
	{"sticky", `
		root mkdir t 01777
		ada create t/f 0666
		ada mkdir t/d 0777
		bob create t/mine 0644
		bob unlink t/f = EPERM
		bob rename t/f t/g = EPERM
		bob rename t/mine t/f = EPERM
		bob rmdir t/d = EPERM
		bob rename t/d t/e = EPERM
		ada rename t/f t/g
		ada unlink t/g
		root unlink t/mine
		ada rmdir t/d`},
	{"chmod", `
		root chmod . 0777
		ada create f 0644
		bob chmod f 0666 = EPERM
		root chmod f 0666
		ada chmod f 04755
		ada mode f 04755
		ada chown f -1 2000
		ada mode f 0755
		ada chmod f 02755
		ada mode f 02755
		root chown f 1001 0
		ada chmod f 02755
		ada mode f 0755
		bob chmod none 0644 = ENOENT
		bob chmod f/x 0644 = ENOTDIR`},
	{"chown", `
		root chmod . 0777
		ada create f 0644
		ada chown f 1002 -1 = EPERM
		bob chown f 1002 -1 = EPERM
		ada chown f -1 2000
		ada chown f -1 1002 = EPERM
		ada owner f 1001 2000
		root chown f 1002 1002
		bob owner f 1002 1002
		ada chmod f 0666 = EPERM
		bob chmod f 0600
		ada open f r = EACCES`},
	{"times", `
		root chmod . 0777
		ada create f 0644
		ada utimes f 1 2
		bob utimes f 1 2 = EPERM
		root utimes f 3 4
		bob now f = EACCES
		ada chmod f 0666
		bob now f
		bob utimes f 1 2 = EPERM`},
	{"attributes", `
		root chmod . 0777
		ada create f 0644
		ada setxattr f user.k
		bob setxattr f user.k = EACCES
		ada chmod f 0666
		bob setxattr f user.k
		bob setxattr f trusted.k = EPERM
		ada setxattr none user.k = ENOENT`},
	{"nodes", `
		root chmod . 0777
		ada mknod p 010644
		bob mknod p 010644 = EEXIST
		ada mknod c 020666 0x103 = EPERM
		ada mknod f 0100644
		ada mode f 0644`},
	{"errors", `
		root chmod . 0777
		ada mkdir d 0755
		ada create d/f 0644
		ada mkdir d 0755 = EEXIST
		ada create d/f 0644 = EEXIST
		ada create none/f 0644 = ENOENT
		ada create d/f/g 0644 = ENOTDIR
		ada rmdir d = ENOTEMPTY
		ada rmdir d/f = ENOTDIR
		ada rmdir d/. = EINVAL
		ada unlink d = EISDIR
		ada unlink none = ENOENT
		ada rename d d/e = EINVAL
		ada rename none e = ENOENT
		ada create f 0644
		ada rename f d = EISDIR
		ada rename d f = ENOTDIR
		ada mkdir e 0755
		ada rename e d = ENOTEMPTY
		ada rename d e
		ada rename e d
		ada link d e = EPERM
		ada link f d/f = EEXIST
		ada link none g = ENOENT
		ada symlink f x = EEXIST
		ada symlink a b
		ada symlink b a
		ada open a r = ELOOP
		ada open d w = EISDIR
		ada truncate d 1 = EISDIR
		ada truncate f -1 = EINVAL
		ada open d/ r
		ada open f/ r = ENOTDIR
		ada list f = ENOTDIR`},
}
