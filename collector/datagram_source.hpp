// datagram_source: a socket that takes messages of syslog, each a datagram, over UDP or as /dev/log
// does; of a Unix socket's senders the kernel tells process and user. Nobody is told anything: what
// comes while the log is full waits in the socket's buffer, and what does not fit there the kernel
// drops, which the log says in its place. Loop thread only.
#pragma once

#include "intake.hpp"
#include "named_log.hpp"

#include <sapwood/datagram.hpp>
#include <sapwood/endpoint.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace sapwood::collector {

class datagram_source {
  public:
    /// Receives by a socket that is bound already; its path, if it has one, stays.
    explicit datagram_source(owned_fd inherited);

    /// Receives at `at` from now on; a path is made with `mode`, in place of one that nobody
    /// receives at any more. Throws std::system_error.
    datagram_source(const endpoint& at, mode_t mode);
    datagram_source(const datagram_source&) = delete;
    datagram_source& operator=(const datagram_source&) = delete;

    datagram_source(datagram_source&& other) noexcept
        : socket_(std::move(other.socket_)),
          path_(std::exchange(other.path_, {})),
          device_(other.device_),
          inode_(other.inode_),
          users_(std::move(other.users_)),
          is_unix_(other.is_unix_) {}

    /// Removes its path, where that is its own still.
    ~datagram_source();

    /// Of a Unix socket: what others than these send is dropped and counted. None: nobody's is.
    void set_users(std::vector<uid_t> users) { users_ = std::move(users); }

    /// Until it is cancelled: then what has come is taken, and no more, for as long as
    /// intake::rest_takes_at_most.
    [[nodiscard]] task<> run(intake& shared, named_log& to);

    [[nodiscard]] endpoint local_endpoint() const { return socket_.local_endpoint(); }

  private:
    [[nodiscard]] bool is_wanted(intake& shared, const msghdr& message) const;
    [[nodiscard]] record_view made_of(const intake& shared, named_log& to, std::size_t size,
                                      const msghdr& message) const;
    [[nodiscard]] std::size_t queued_bytes_max() const noexcept;
    task<> take_rest(intake& shared, named_log& to);
    void note_drops(intake& shared, named_log& to);

    socket socket_;
    /// Empty where it is not ours to remove; and what it was when it was made.
    std::string path_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    /// While it runs.
    std::unique_ptr<char[]> buffer_;
    std::size_t buffer_bytes_ = 0;
    std::vector<uid_t> users_;
    bool is_unix_ = false;
    /// The kernel's count, as of the last look, and when that was.
    std::uint32_t drops_ = 0;
    clock::time_point looked_{};
    /// Dropped, and not told of yet: the log had no room for that either.
    std::uint64_t untold_ = 0;
};

} // namespace sapwood::collector
