// Runs a program as a container with Docker's default seccomp profile would: the system calls of
// io_uring, 425 to 427, fail with EPERM.
//
// usage: without_uring PROGRAM [ARG...]
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: without_uring PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    std::array filter{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 425, 0, 2),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 427, 1, 0),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = static_cast<unsigned short>(filter.size()),
                             .filter = filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        std::fprintf(stderr, "without_uring: cannot install the filter: %s\n",
                     std::strerror(errno));
        return 126;
    }
    ::execv(argv[1], argv + 1);
    std::fprintf(stderr, "without_uring: cannot run %s: %s\n", argv[1], std::strerror(errno));
    return 127;
}
