// peer_stream: the bytes of a connection for the session that speaks by them, as they travel
// (plain_stream) or under TLS (tls_stream). What sapwood/stream.hpp promises holds: one task may
// receive while another writes, a piece is the session's until it is destroyed, a receive that was
// cancelled has taken nothing, and a write that was may have left a part written. Loop thread only.
#pragma once

#include <sapwood/stream.hpp>
#include <sapwood/task.hpp>

#include <memory>
#include <span>

namespace sapwood::collector {

class peer_stream {
  public:
    peer_stream() = default;
    peer_stream(const peer_stream&) = delete;
    peer_stream& operator=(const peer_stream&) = delete;
    virtual ~peer_stream() = default;

    /// The next bytes; empty where the peer says that there are no more. Throws std::system_error,
    /// or `cancelled`.
    [[nodiscard]] virtual task<received> receive() = 0;

    /// Writes all of `bytes`.
    [[nodiscard]] virtual task<> write_all(std::span<const char> bytes) = 0;

    /// The peer reads to the end of what was written, and may go on writing.
    [[nodiscard]] virtual task<> shutdown_write() = 0;

    /// Does not wait for the peer.
    [[nodiscard]] virtual task<> close() = 0;
};

class plain_stream final : public peer_stream {
  public:
    explicit plain_stream(std::unique_ptr<stream> socket) noexcept : socket_(std::move(socket)) {}

    [[nodiscard]] task<received> receive() override { co_return co_await socket_->receive(); }

    [[nodiscard]] task<> write_all(std::span<const char> bytes) override {
        co_await socket_->write_all(bytes);
    }

    [[nodiscard]] task<> shutdown_write() override { co_await socket_->shutdown_write(); }

    [[nodiscard]] task<> close() override { co_await socket_->close(); }

  private:
    const std::unique_ptr<stream> socket_;
};

} // namespace sapwood::collector
