// passed_descriptors: descriptors that come by a Unix socket, which nobody asked for. The last
// close of one may take as long as who has sent it likes: a socket that lingers, a file of a FUSE
// mount. So the kernel is told to take none, and one that came all the same (before Linux 6.16) is
// closed on a thread of its own.
#pragma once

#include <cstddef>
#include <sys/socket.h>

namespace sapwood::collector {

/// Who sends a descriptor to the Unix socket `fd`, or to one that is accepted by it, is told EPERM.
/// Nothing happens where the kernel knows no such option. Any thread.
void refuse_descriptors(int fd) noexcept;

/// Closes those that came with `message`, and does not wait for it. Any thread. Without memory, or
/// a thread, or where passed_descriptors_max() are open still, here and now: then they may hold it
/// up.
void close_descriptors(const msghdr& message) noexcept;

/// How many of them may be open at a time, as of this process's limit: a sixteenth of it, and 1024.
[[nodiscard]] std::size_t passed_descriptors_max() noexcept;

} // namespace sapwood::collector
