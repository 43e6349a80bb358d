// Unix sockets that carry streams: listeners and streams by path or abstract name, who the peer is,
// and descriptors sent to it. Loop thread only.
#pragma once

#include <sapwood/listener.hpp>
#include <sapwood/stream.hpp>

#include <optional>
#include <sys/types.h>
#include <type_traits>

namespace sapwood {

struct unix_listen_options {
    int backlog = backlog_default;
    /// Permissions of the path, less the umask: who may write to it may connect. By default only
    /// its owner. An abstract name has none: everybody may connect; ask for their credentials.
    mode_t mode = 0600;
};

static_assert(std::is_trivially_destructible_v<unix_listen_options>,
              "gcc 12 destroys options in a co_await expression twice");

/// The process that called connect, or listen, at the time it did.
struct credentials {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

class unix_stream : public stream {
  public:
    using stream::stream;

    /// Throws std::system_error that names `to` and the reason. Waits where the listener's backlog
    /// is full. Cancelling gives the attempt up.
    [[nodiscard]] static task<unix_stream> connect(endpoint to);

    /// Two streams that are each other's peers.
    [[nodiscard]] static std::pair<unix_stream, unix_stream> make_pair();

    /// The kernel's word for who is at the other end. Throws std::system_error.
    [[nodiscard]] credentials peer_credentials() const;

    /// Sends a copy of `fd` with one byte, 0, that travels in the stream. The peer must get it by
    /// receive_descriptor: another read would drop it.
    [[nodiscard]] task<> send_descriptor(int fd);

    /// The descriptor that comes next, which exec does not pass on; empty where the peer ended the
    /// stream. Throws std::system_error, EBADMSG, where the next byte carries none.
    [[nodiscard]] task<owned_fd> receive_descriptor();
};

/// Listens on a path or an abstract name. Making and removing a path is done at once, on the loop's
/// thread: keep it where no server or slow disk is behind it.
class unix_listener : public listener {
  public:
    unix_listener() = default;

    /// A path that a dead process left is replaced, after asking whether anybody answers; one that
    /// is alive, or is no socket, is refused with EADDRINUSE. Throws std::system_error.
    explicit unix_listener(const endpoint& at, unix_listen_options options = {});

    /// Takes over a socket that listens already, as a service manager passes it on; its path is
    /// not ours to remove. Makes it O_NONBLOCK and one that exec does not pass on. Throws
    /// std::system_error where it is none.
    [[nodiscard]] static unix_listener adopt(owned_fd listening);

    unix_listener(unix_listener&&) noexcept = default;
    unix_listener& operator=(unix_listener&& other) noexcept;

    /// As close(), at once.
    ~unix_listener();

    [[nodiscard]] task<unix_stream> accept();

    /// Removes its own path, so that nobody connects any more, and closes.
    [[nodiscard]] detail::close_op close() noexcept;

  private:
    /// The path that is this listener's own, by what it was when it was made.
    class bound_path {
      public:
        bound_path() = default;

        explicit bound_path(std::string path);

        bound_path(bound_path&& other) noexcept
            : path_(std::exchange(other.path_, {})),
              device_(other.device_),
              inode_(other.inode_),
              generation_(other.generation_) {}

        bound_path& operator=(bound_path&& other) noexcept {
            path_ = std::exchange(other.path_, {});
            device_ = other.device_;
            inode_ = other.inode_;
            generation_ = other.generation_;
            return *this;
        }

        void remove() noexcept;

      private:
        std::string path_;
        dev_t device_ = 0;
        ino_t inode_ = 0;
        /// Of the process that made it: a forked child's copy removes nothing.
        unsigned generation_ = 0;
    };

    bound_path path_;
};

} // namespace sapwood
