/*
 * confine PROGRAM [ARGUMENT...]: runs a program under the system call filter of cfsmountd.service, for tests without a service manager.
 * ALLOWED names a file with the numbers of the calls that pass, each followed by a comma. The rest gets EPERM, as SystemCallErrorNumber=
 * says; RestrictAddressFamilies= and RestrictNamespaces= refuse as systemd's own filters do (src/shared/seccomp-util.c there).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif
#define REFUSE(e) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (e))
#define PASS BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (otherwise))
#define HAS(bits, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), (then), (otherwise))
#define OTHER_NAMESPACES (CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS)

static const int allowed[] = {
#include ALLOWED
};

static int install(struct sock_filter *filter, unsigned short length)
{
	struct sock_fprog program = { length, filter };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static int restrict_calls(void)
{
	struct sock_filter filter[2 * sizeof allowed / sizeof *allowed + 5] = {
		LOAD(arch), EQUAL(ARCH, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), LOAD(nr),
	};
	unsigned short n = 4;

	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
		filter[n++] = (struct sock_filter)EQUAL((unsigned)allowed[i], 0, 1);
		filter[n++] = (struct sock_filter)PASS;
	}
	filter[n++] = (struct sock_filter)REFUSE(EPERM);
	return install(filter, n);
}

static int restrict_families(void)
{
	struct sock_filter filter[] = {
		LOAD(nr), EQUAL(SYS_socket, 0, 3), LOAD(args[0]), EQUAL(AF_UNIX, 1, 0), REFUSE(EAFNOSUPPORT), PASS,
	};

	return install(filter, sizeof filter / sizeof *filter);
}

static int restrict_namespaces(void)
{
	struct sock_filter filter[] = {
		LOAD(nr), EQUAL(SYS_clone3, 0, 1), REFUSE(ENOSYS),
		EQUAL(SYS_setns, 0, 5), LOAD(args[1]), EQUAL(0, 0, 1), REFUSE(EPERM), HAS(OTHER_NAMESPACES, 5, 0), PASS,
		EQUAL(SYS_unshare, 1, 0), EQUAL(SYS_clone, 0, 3), LOAD(args[0]), HAS(OTHER_NAMESPACES, 0, 1), REFUSE(EPERM), PASS,
	};

	return install(filter, sizeof filter / sizeof *filter);
}

int main(int argc, char **argv)
{
	if (argc < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || restrict_namespaces() || restrict_families() || restrict_calls()) {
		perror("confine");
		return 125;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
