// link: one connection to one broker, from its greeting to its loss: bytes in, frames out to who
// listens; whole frames in, bytes out; heartbeats. What is written is first put into out() as whole
// frames, by plain functions: so nobody who is cancelled leaves a part of one. Loop thread only.
#pragma once

#include "codec.hpp"

#include <sapwood/amqp/connection.hpp>

#include <tls/peer_stream.hpp>

#include <sapwood/event.hpp>
#include <sapwood/received.hpp>
#include <sapwood/task.hpp>
#include <sapwood/tcp.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace sapwood::amqp::detail {

class link_listener {
  public:
    /// What it throws ends link::read.
    virtual void take(const frame& from) = 0;

  protected:
    ~link_listener() = default;
};

class link {
  public:
    /// Connects to `host`, by TLS where that is wanted, and says who we are. Throws
    /// std::system_error, and `cancelled`.
    [[nodiscard]] static task<std::unique_ptr<link>> make(host_port host,
                                                          const connection_options& options);

    link(std::unique_ptr<peer_stream> over, const connection_options& options);

    /// Whole frames that are to be sent; flush() after the last one.
    [[nodiscard]] std::string& out() noexcept { return out_; }

    /// Has the writer look at out().
    void flush() noexcept {
        if (!is_writing_) {
            wake_.set();
        }
    }

    /// It is lost: what has to be said cannot be.
    void break_off() noexcept { (void)::shutdown(stream_->socket().fd(), SHUT_RDWR); }

    /// So many bytes of out() are there by our own wish, of a channel that is over.
    void forgive(std::size_t bytes) noexcept {
        forgiven_bytes_ = std::min(forgiven_bytes_ + bytes, out_.size());
    }

    /// Until out() is written.
    [[nodiscard]] std::size_t forgiven_bytes() const noexcept { return forgiven_bytes_; }

    // Each runs until the link is lost, which it throws as std::system_error. One task each.

    [[nodiscard]] task<> read(link_listener& to);
    [[nodiscard]] task<> write();
    [[nodiscard]] task<> beat();

    /// Sends what is in out(), where that can be had soon, and closes. When nobody reads or writes.
    [[nodiscard]] task<> end();

    [[nodiscard]] std::uint16_t channel_max() const noexcept { return channel_max_; }

    [[nodiscard]] std::uint32_t frame_bytes_max() const noexcept { return frame_bytes_max_; }

    [[nodiscard]] decoder& methods() noexcept { return decoder_; }

  private:
    [[nodiscard]] task<> greet(const connection_options& options);
    [[nodiscard]] task<method> next_method(const char* awaited);
    [[nodiscard]] task<> send();
    void answer_start(const connection_options& options);
    void answer_tune(const amqp_connection_tune_t& offered, const connection_options& options);

    const std::unique_ptr<peer_stream> stream_;
    frame_splitter splitter_;
    decoder decoder_;
    /// Of the greeting: what has come and is not looked at yet.
    received piece_;
    std::string_view rest_;
    std::string out_;
    std::string sending_;
    std::size_t forgiven_bytes_ = 0;
    event wake_;
    bool is_writing_ = false;
    std::uint16_t channel_max_ = 0;
    std::uint32_t frame_bytes_max_ = frame_bytes_least;
    clock::duration heartbeat_{};
    clock::time_point last_received_{};
    clock::time_point last_sent_{};
};

} // namespace sapwood::amqp::detail
