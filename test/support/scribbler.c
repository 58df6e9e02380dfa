/* scribbler FILE OFFSET...: turns the texts at the offsets from GOOD to EVIL and back, through a shared mapping, until it is killed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct stat st;
	int fd = open(argv[1], O_RDWR);
	if (fd < 0 || fstat(fd, &st))
		return 1;
	char *map = mmap(0, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	if (write(1, "x", 1) != 1)
		return 1;
	for (unsigned long turn = 0;; turn++) {
		for (int i = 2; i < argc; i++)
			memcpy(map + atol(argv[i]), turn & 1 ? "GOOD" : "EVIL", 4);
		for (volatile int pause = 0; pause < 20000; pause++)
			;
	}
}
