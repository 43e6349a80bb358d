// socket: what sockets of every kind have in common, and the operations on them. What an operation
// points to must live until it is awaited. One task may receive while another sends; sockets are
// otherwise used as files are. Loop thread only.
#pragma once

#include <sapwood/endpoint.hpp>
#include <sapwood/owned_fd.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <span>
#include <string>
#include <sys/socket.h>
#include <sys/uio.h>

namespace sapwood {

namespace detail {

class accept_op;
class connect_op;
class receive_op;
class send_op;
class send_all_op;
class receive_message_op;
class send_message_op;
class shutdown_op;

/// A socket of the family and type (SOCK_STREAM, ...) that exec does not pass on. Throws
/// std::system_error that names `purpose`: "cannot listen on 127.0.0.1:80".
[[nodiscard]] owned_fd make_socket(int family, int type, const std::string& purpose);

/// Throws std::system_error that names `purpose`, with the remedies that are known for `error`.
[[noreturn]] void throw_socket_error(int error, const std::string& purpose);

/// For errors: who is at the other end as far as it is known.
[[nodiscard]] std::string peer_name(int fd);

/// For errors: the socket's own name.
[[nodiscard]] std::string local_name(int fd);

/// Where a stream socket that listens already does so; makes it O_NONBLOCK, and one that exec does
/// not pass on. Throws std::system_error that names `purpose` where it is none.
[[nodiscard]] endpoint require_listening(int fd, const std::string& purpose);

void set_option(int fd, int level, int name, int value, const std::string& purpose);

} // namespace detail

class socket : public owned_fd {
  public:
    using owned_fd::owned_fd;

    /// Throws std::system_error.
    [[nodiscard]] endpoint local_endpoint() const;

    /// Throws std::system_error where there is none, as when the peer has reset the connection.
    [[nodiscard]] endpoint peer_endpoint() const;
};

namespace detail {

void prepare_poll(io_uring_sqe& sqe, int fd, short events) noexcept;

/// A call on a socket. Where one does not wait that should (old kernels, on a socket that is
/// O_NONBLOCK), waits for readiness and makes it again. Derived has `void call(io_uring_sqe&)`,
/// `short awaited`, what readiness it waits for.
template <class Derived, class T>
class socket_op : public fd_op<Derived, T> {
  public:
    void prepare(io_uring_sqe& sqe) noexcept final {
        if (polls_) {
            prepare_poll(sqe, derived().polled_fd(), Derived::awaited);
        } else {
            derived().call(sqe);
        }
    }

    void complete(std::int32_t value, std::uint32_t flags) noexcept override {
        const bool is_over = polls_ ? value < 0 : value != -EAGAIN;
        if (is_over) {
            fd_op<Derived, T>::complete(value, flags);
        } else if (this->context->must_stop()) {
            fd_op<Derived, T>::complete(-ECANCELED, flags);
        } else {
            polls_ = !polls_;
            this->start();
        }
    }

  protected:
    explicit socket_op(socket& on) noexcept : fd_op<Derived, T>(on) {}

    [[nodiscard]] bool is_polling() const noexcept { return polls_; }

    /// Whose readiness it waits for.
    [[nodiscard]] int polled_fd() const noexcept { return this->fd(); }

  private:
    Derived& derived() noexcept { return static_cast<Derived&>(*this); }

    /// It waits for readiness now.
    bool polls_ = false;
};

/// The next connection of a listener. A cancelled one that has won the race closes what it got.
class [[nodiscard]] accept_op final : public socket_op<accept_op, owned_fd> {
  public:
    static constexpr short awaited = POLLIN;

    explicit accept_op(socket& from) noexcept : socket_op(from) {}

    void call(io_uring_sqe& sqe) noexcept;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    owned_fd convert(std::int32_t fd) const noexcept { return owned_fd(fd); }

    std::string describe() const override;
};

class [[nodiscard]] connect_op final : public fd_op<connect_op, void> {
  public:
    connect_op(socket& from, const endpoint& to) noexcept : fd_op(from), to_(to) {}

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    endpoint to_;
    /// It goes on by itself, and readiness tells of its end.
    bool is_in_progress_ = false;
};

class [[nodiscard]] receive_op final : public socket_op<receive_op, std::size_t> {
  public:
    static constexpr short awaited = POLLIN;

    receive_op(socket& from, std::span<char> into) noexcept : socket_op(from), into_(into) {}

    void call(io_uring_sqe& sqe) noexcept;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const override;

  private:
    std::span<char> into_;
};

class [[nodiscard]] send_op final : public socket_op<send_op, std::size_t> {
  public:
    static constexpr short awaited = POLLOUT;

    send_op(socket& to, std::span<const char> bytes) noexcept : socket_op(to), bytes_(bytes) {}

    void call(io_uring_sqe& sqe) noexcept;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const override;

  private:
    std::span<const char> bytes_;
};

/// Sends until all has been sent. One operation and no coroutine: it starts again by itself.
class [[nodiscard]] send_all_op final : public socket_op<send_all_op, void> {
  public:
    static constexpr short awaited = POLLOUT;

    /// From `zero_copy_from` bytes on they are not copied, where the ring can do without.
    send_all_op(socket& to, std::span<const char> bytes, std::size_t zero_copy_from) noexcept
        : socket_op(to),
          left_(bytes),
          zero_copy_from_(zero_copy_from) {}

    [[nodiscard]] bool await_ready() const noexcept { return left_.empty(); }

    void call(io_uring_sqe& sqe) noexcept;
    void progress(std::int32_t value, std::uint32_t flags) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    void call_uncopied(io_uring_sqe& sqe) noexcept;

    std::span<const char> left_;
    std::size_t zero_copy_from_;
    /// Without copying: what was sent, while the kernel still has the bytes.
    std::int32_t sent_ = 0;
    bool is_uncopied_ = false;
};

/// The message, and what it points to, is the caller's.
class [[nodiscard]] receive_message_op final : public socket_op<receive_message_op, std::size_t> {
  public:
    static constexpr short awaited = POLLIN;

    receive_message_op(socket& from, msghdr& message, int flags) noexcept
        : socket_op(from),
          message_(message),
          flags_(flags) {}

    void call(io_uring_sqe& sqe) noexcept;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const override;

  private:
    msghdr& message_;
    int flags_;
};

class [[nodiscard]] send_message_op final : public socket_op<send_message_op, std::size_t> {
  public:
    static constexpr short awaited = POLLOUT;

    send_message_op(socket& to, const msghdr& message) noexcept
        : socket_op(to),
          message_(message) {}

    void call(io_uring_sqe& sqe) noexcept;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const override;

  private:
    const msghdr& message_;
};

class [[nodiscard]] shutdown_op final : public fd_op<shutdown_op, void> {
  public:
    /// `how` is SHUT_RD, SHUT_WR or SHUT_RDWR.
    shutdown_op(socket& of, int how) noexcept : fd_op(of), how_(how) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    int how_;
};

} // namespace detail

} // namespace sapwood
