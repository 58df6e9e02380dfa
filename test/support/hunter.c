/*
 * hunter MODE: watches for the service's helper from inside the caller's user namespace, and turns on it the moment it can be signalled.
 * MODE is "stop", "stop-late" (once it has ids of the namespace), "kill" or "inspect" (which stops it, tries what can be had of it, and
 * lets it go on); prints one line of JSON for each helper it caught, and "ready" at its start.
 *
 * hunter inspect PID: the same for one process that stands still, once.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Where a busy machine starts others meanwhile, the helper is not the last process for long. */
#define NEWEST 64

static int read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -1;
	text[n] = 0;
	return 0;
}

static int last_pid(void)
{
	char text[128];

	return read_file("/proc/loadavg", text, sizeof text) ? 0 : atoi(strrchr(text, ' ') + 1);
}

static int is_helper(int pid)
{
	char path[64], text[64];

	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	return read_file(path, text, sizeof text) == 0 && strncmp(text, "cfsmountd-park", 14) == 0;
}

/* Until it has ids of this namespace, its own show as the overflow id. */
static int is_late(int pid)
{
	char path[64], text[2048];

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	return read_file(path, text, sizeof text) == 0 && strstr(text, "\nUid:\t0\t0\t0\t");
}

static int opens(int pid, const char *what, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
	fd = open(path, flags);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int lists(int pid, const char *what)
{
	char path[64];
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
	dir = opendir(path);
	if (dir)
		closedir(dir);
	return dir != NULL;
}

static int takes_fd(int pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	int taken = 0;

	for (int fd = 0; pidfd >= 0 && fd < 8; fd++)
		taken += syscall(SYS_pidfd_getfd, pidfd, fd, 0) >= 0;
	if (pidfd >= 0)
		close(pidfd);
	return taken;
}

static int is_stopped(int pid)
{
	char path[64], text[512];

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	return read_file(path, text, sizeof text) == 0 && (strstr(text, ") T ") || strstr(text, ") t "));
}

/* One that has been ended meanwhile tells nothing: memory that is no more may be opened by anybody. */
static void inspect(int pid, int must_be_stopped)
{
	char buffer[16];
	struct iovec local = { buffer, sizeof buffer }, remote = { (void *)0x400000, sizeof buffer };
	int traced = ptrace(PTRACE_SEIZE, pid, 0, 0) == 0;
	char text[512];

	snprintf(text, sizeof text,
		 "{\"pid\":%d,\"traced\":%d,\"memory\":%d,\"mem\":%d,\"maps\":%d,\"fds\":%d,\"fd\":%d,\"environ\":%d,\"namespace\":%d,"
		 "\"root\":%d,\"cwd\":%d}",
		 pid, traced, process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0, opens(pid, "mem", O_RDWR), opens(pid, "maps", O_RDONLY),
		 lists(pid, "fd"), takes_fd(pid), opens(pid, "environ", O_RDONLY), opens(pid, "ns/mnt", O_RDONLY), lists(pid, "root"),
		 lists(pid, "cwd"));
	if (!must_be_stopped || is_stopped(pid))
		puts(text);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int sig = argc > 1 && strcmp(argv[1], "kill") == 0 ? SIGKILL : SIGSTOP;
	int late = argc > 1 && strcmp(argv[1], "stop-late") == 0;
	int caught = 0;

	if (argc > 2) {
		inspect(atoi(argv[2]), 0);
		return 0;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int last = last_pid();

		for (int pid = last + 2; pid > last - NEWEST; pid--) {
			if (pid == caught || pid <= 1 || !is_helper(pid) || (late && !is_late(pid)) || kill(pid, sig))
				continue;
			caught = pid;
			if (argc > 1 && strcmp(argv[1], "inspect") == 0) {
				inspect(pid, 1);
				kill(pid, SIGCONT);
			} else
				printf("{\"pid\":%d}\n", pid);
			fflush(stdout);
		}
	}
}
