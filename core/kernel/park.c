/*
 * cfsmountd-park: makes the parked mount namespace of one user namespace, and stays until it is told to end.
 *
 *   fd 0  pipe or socket; end of file means: end
 *   fd 1  gets one byte when the namespace stands
 *   fd 3  staging mount namespace, owned by the initial user namespace
 *   fd 4  the caller's user namespace
 *
 * It never executes anything, so its memory belongs to the initial user namespace and its new owner cannot ptrace it.
 * It takes ids of the user namespace and drops every other descriptor before the namespace exists that its owner can
 * reach: nothing here is worth stealing afterwards.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { STAGING = 3, USERNS = 4, STEP_JOIN = 10, STEP_IDS, STEP_CLOSE, STEP_PARK, STEP_TELL };

/* First id that the map names inside the namespace, 0 if it maps 0 (the kernel keeps maps in the order written). */
static long mapped_id(int proc, const char *map)
{
	char text[4096];
	long id = -1;
	int fd = openat(proc, map, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (n <= 0)
		return -1;
	close(fd);
	text[n] = 0;
	for (char *line = text; *line && id != 0;) {
		long inside = strtol(line, &line, 10);

		if (id < 0 || inside == 0)
			id = inside;
		while (*line && *line++ != '\n')
			;
	}
	return id;
}

int main(void)
{
	/* Opened before the namespaces change: the staging namespace has no /proc. */
	int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	long uid, gid;
	char byte = 0;

	/*
	 * Supplementary groups go first: inside the user namespace setgroups may be denied. A service has none, and need not
	 * have the right to change them (CAP_SETGID) either.
	 */
	if (prctl(PR_SET_DUMPABLE, 0) || (getgroups(0, NULL) && setgroups(0, NULL)))
		return STEP_JOIN;
	if (setns(STAGING, CLONE_NEWNS) || setns(USERNS, CLONE_NEWUSER))
		return STEP_JOIN;
	uid = mapped_id(proc, "uid_map");
	gid = mapped_id(proc, "gid_map");
	if (uid < 0 || gid < 0 || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return STEP_IDS;
	/* A stopped helper does not see the end of its input; a change of ids clears this, so it comes after. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return STEP_IDS;
	close(proc);
	if (close_range(2, ~0U, 0))
		return STEP_CLOSE;
	if (unshare(CLONE_NEWNS))
		return STEP_PARK;
	if (write(1, &byte, 1) != 1)
		return STEP_TELL;
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
