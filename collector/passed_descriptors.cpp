#include "passed_descriptors.hpp"

#include "closer.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <sys/resource.h>
#include <unistd.h>

namespace sapwood::collector {

namespace {

#ifdef SO_PASSRIGHTS
constexpr int pass_rights = SO_PASSRIGHTS;
#else
constexpr int pass_rights = 83; // Linux 6.16
#endif

void close_elsewhere(int fd) noexcept {
    // A socket's close does not wait for its peer then: what was to be sent is the sender's.
    constexpr linger none{.l_onoff = 0, .l_linger = 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    try {
        static closer& one = *new closer(passed_descriptors_max(), ::close);
        one.add(fd);
    } catch (const std::exception&) {
        ::close(fd);
    }
}

} // namespace

std::size_t passed_descriptors_max() noexcept {
    constexpr rlim_t most = 1024;
    rlimit limit{};
    return static_cast<std::size_t>(
        ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? std::min(most, limit.rlim_cur / 16) : most);
}

void refuse_descriptors(int fd) noexcept {
    constexpr int no = 0;
    (void)::setsockopt(fd, SOL_SOCKET, pass_rights, &no, sizeof(no));
}

void close_descriptors(const msghdr& message) noexcept {
    for (auto* at = CMSG_FIRSTHDR(&message); at != nullptr;
         at = CMSG_NXTHDR(const_cast<msghdr*>(&message), at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t bytes = at->cmsg_len - CMSG_LEN(0);
        for (std::size_t i = 0; i + sizeof(int) <= bytes; i += sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(at) + i, sizeof(fd));
            close_elsewhere(fd);
        }
    }
}

} // namespace sapwood::collector
