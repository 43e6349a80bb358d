// Runs a program that may lock 16 KiB of memory and no more, as a service of an ordinary user with
// a low limit: without CAP_IPC_LOCK, which would lift the limit.
//
// usage: with_little_memlock PROGRAM [ARG...]
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// Out of all the sets: an exec by root would give it back otherwise. Whether it is gone.
bool drop_ipc_lock() {
    if (::prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) != 0 && errno != EPERM) {
        return false; // EPERM: an ordinary user, who has none
    }
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct sets[2]{};
    if (::syscall(SYS_capget, &header, sets) != 0) {
        return false;
    }
    const unsigned bit = 1u << CAP_IPC_LOCK;
    sets[0].effective &= ~bit;
    sets[0].permitted &= ~bit;
    sets[0].inheritable &= ~bit;
    return ::syscall(SYS_capset, &header, sets) == 0;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: with_little_memlock PROGRAM [ARG...]\n", stderr);
        return 2;
    }
    const rlimit limit{.rlim_cur = 16 * 1024, .rlim_max = 16 * 1024};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || !drop_ipc_lock()) {
        std::fprintf(stderr, "with_little_memlock: cannot lower the limit: %s\n",
                     std::strerror(errno));
        return 126;
    }
    ::execv(argv[1], argv + 1);
    std::fprintf(stderr, "with_little_memlock: cannot run %s: %s\n", argv[1], std::strerror(errno));
    return 127;
}
