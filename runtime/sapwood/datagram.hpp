// Datagrams: UDP and Unix sockets that carry messages, each whole or not at all. Loop thread only.
#pragma once

#include <sapwood/socket.hpp>

#include <type_traits>

namespace sapwood {

struct udp_options {
    /// SO_REUSEADDR: several sockets may be bound to one port, which multicast needs; of those that
    /// are not multicast, the newest gets everything.
    bool reuse_address = false;
    /// SO_REUSEPORT: several sockets, each with it, share a port and what comes.
    bool reuse_port = false;
    /// IPV6_V6ONLY, as tcp_listen_options has it.
    bool v6_only = true;
};

static_assert(std::is_trivially_destructible_v<udp_options>,
              "gcc 12 destroys options in a co_await expression twice");

/// What receive_from got.
struct datagram {
    /// Bytes in the buffer; 0 is a datagram without any, and no end.
    std::size_t size = 0;
    /// It had more bytes than the buffer, which are lost.
    bool is_truncated = false;
    endpoint from;
};

namespace detail {

/// A message in one buffer, and the endpoint it comes from or goes to.
struct one_buffer_message {
    one_buffer_message(const void* bytes, std::size_t size) noexcept
        : part{.iov_base = const_cast<void*>(bytes), .iov_len = size} {
        header.msg_iov = &part;
        header.msg_iovlen = 1;
    }

    one_buffer_message(const one_buffer_message&) = delete;
    one_buffer_message& operator=(const one_buffer_message&) = delete;
    ~one_buffer_message() = default;

    iovec part;
    sockaddr_storage name{};
    msghdr header{};
};

class [[nodiscard]] receive_datagram_op final : public socket_op<receive_datagram_op, datagram> {
  public:
    static constexpr short awaited = POLLIN;

    receive_datagram_op(socket& from, std::span<char> into) noexcept
        : socket_op(from),
          message_(into.data(), into.size()) {}

    void call(io_uring_sqe& sqe) noexcept;

    datagram convert(std::int32_t bytes) const noexcept;

    std::string describe() const override;

  private:
    one_buffer_message message_;
};

class [[nodiscard]] send_datagram_op final : public socket_op<send_datagram_op, void> {
  public:
    static constexpr short awaited = POLLOUT;

    send_datagram_op(socket& from, std::span<const char> bytes, const endpoint& to) noexcept
        : socket_op(from),
          message_(bytes.data(), bytes.size()),
          to_(to) {}

    void call(io_uring_sqe& sqe) noexcept;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    friend class socket_op<send_datagram_op, void>;

    [[nodiscard]] int polled_fd() const noexcept;

    one_buffer_message message_;
    endpoint to_;
    /// Of Unix sockets: connected to the receiver, so that its readiness is room there.
    owned_fd room_;
};

} // namespace detail

class datagram_socket : public socket {
  public:
    /// The next datagram, cut to `into`. Where it was received, a cancellation comes at the next
    /// wait. That nobody listens where an earlier one was sent to is not told: the kernel says so
    /// to connected sockets only.
    [[nodiscard]] detail::receive_datagram_op receive_from(std::span<char> into) noexcept;

    /// Sends all of `bytes` as one datagram. What is too long is EMSGSIZE; nothing is ever cut.
    [[nodiscard]] detail::send_datagram_op send_to(std::span<const char> bytes,
                                                   const endpoint& to) noexcept;

    /// An array may be a literal, with a NUL at its end: say std::string_view, or std::span.
    template <std::size_t Size>
    detail::send_datagram_op send_to(const char (&bytes)[Size], const endpoint& to) = delete;

  protected:
    using socket::socket;
};

class udp_socket : public datagram_socket {
  public:
    udp_socket() = default;

    /// Receives what comes to `at`; port 0 is a free one. Who only sends takes "0.0.0.0" or "::"
    /// and port 0. Throws std::system_error that names `at` and the reason.
    explicit udp_socket(const endpoint& at, udp_options options = {});
};

/// Datagrams on one machine, in order and never dropped: where the receiver's queue is full,
/// sending waits.
class unix_datagram : public datagram_socket {
  public:
    unix_datagram() = default;

    /// Receives what comes to `at`. A path must not be there yet, and is not removed. Throws
    /// std::system_error that names `at` and the reason.
    explicit unix_datagram(const endpoint& at);

    /// One that only sends: it has no name that one could answer to.
    [[nodiscard]] static unix_datagram make_unnamed();
};

} // namespace sapwood
