/*
 * mountfsd IMAGE N PID: asks io.systemd.MountFileSystem.MountImage N times for IMAGE, with the user namespace of the process PID ("self" too).
 * Prints the milliseconds of each call, a line each; stops with what was said if a call fails. varlinkctl of systemd 257 cannot pass descriptors.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CALL "{\"method\":\"io.systemd.MountFileSystem.MountImage\",\"parameters\":" \
	"{\"imageFileDescriptor\":0,\"userNamespaceFileDescriptor\":1,\"readOnly\":true}}"

static void require(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void send_call(int sock, const int fds[2])
{
	struct iovec data = { CALL, sizeof CALL };	/* varlink: with the 0 at the end */
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(rights), fds, 2 * sizeof(int));
	require(sendmsg(sock, &message, 0) == sizeof CALL, "sendmsg");
}

/* Receives a reply to its end; the mount it brought is closed. */
static void receive_reply(int sock)
{
	static char reply[65536];
	size_t got = 0;
	int mounts = 0;

	do {
		struct iovec data = { reply + got, sizeof reply - got };
		char control[CMSG_SPACE(16 * sizeof(int))];
		struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		ssize_t n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);

		require(n > 0, "recvmsg");
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c), sizeof fd);
			close(fd);
			mounts++;
		}
		got += n;
	} while (reply[got - 1]);
	if (mounts == 1 && !strstr(reply, "\"error\""))
		return;
	fprintf(stderr, "%s\n", reply);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/io.systemd.MountFileSystem" };
	char userns[64];

	if (argc != 4)
		return 2;
	snprintf(userns, sizeof userns, "/proc/%s/ns/user", argv[3]);
	for (int i = atoi(argv[2]); i > 0; i--) {
		int fds[2] = { open(argv[1], O_RDONLY | O_CLOEXEC), open(userns, O_RDONLY | O_CLOEXEC) };
		double start = now_ms();
		int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		require(fds[0] >= 0, argv[1]);
		require(fds[1] >= 0, userns);
		require(connect(sock, (struct sockaddr *)&address, sizeof address) == 0, "connect");
		send_call(sock, fds);
		receive_reply(sock);
		printf("%.3f\n", now_ms() - start);
		close(sock);
		close(fds[0]);
		close(fds[1]);
	}
	return 0;
}
