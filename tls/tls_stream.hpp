// tls_stream: TLS over another stream. OpenSSL sees memory only: what comes is given to it, and
// what it wants to say is sent, by the loop. A peer that goes away without saying that it ends is
// an error (tls_errc::truncated) and no end of the stream. Loop thread only.
#pragma once

#include "handshake_bounds.hpp"
#include "tls_context.hpp"

#include <sapwood/mutex.hpp>
#include <sapwood/stream.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct ssl_st;

namespace sapwood {

/// What is spoken inside.
enum class tls_use : std::uint8_t {
    /// HTTP/1.1, which a client that asks is told (ALPN).
    http,
    /// The client writes and never reads: it is sent nothing that it did not ask for (no session
    /// tickets), since its system would reset the connection for what it has not read, and what it
    /// has sent could be lost with that.
    one_way,
    /// Something else, both ways.
    two_way,
};

class tls_stream {
  public:
    /// Begin with handshake(). Throws std::bad_alloc.
    tls_stream(std::unique_ptr<stream> under, std::shared_ptr<const tls_context> with, tls_use use);
    tls_stream(const tls_stream&) = delete;
    tls_stream& operator=(const tls_stream&) = delete;
    ~tls_stream();

    /// Throws std::system_error: a tls_errc, or what the stream beneath says. Where it was told to
    /// stop the stream can only be closed.
    [[nodiscard]] task<> handshake();

    /// Who the peer's certificate says that it is: the first of its alternative names (DNS, email,
    /// URI), or else its subject, `CN=shop,O=Example`. What is not printable, and `%`, space and
    /// brackets, as %XX. Empty where it has shown none.
    [[nodiscard]] std::string peer_name() const;

    /// `TLSv1.3`
    [[nodiscard]] std::string_view version() const noexcept;

    /// It goes on with a session that the peer has had before.
    [[nodiscard]] bool is_resumed() const noexcept;

    /// As peer_stream has them.
    [[nodiscard]] task<received> receive();
    [[nodiscard]] task<> write_all(std::span<const char> bytes);

    /// Says that nothing more is to come (close_notify), and half closes the stream beneath.
    [[nodiscard]] task<> shutdown_write();

    /// Says so, too, where that can be had without waiting.
    [[nodiscard]] task<> close();

    /// Of those that end so (tls_errc::truncated). `counter` outlives this.
    void count_truncations(std::uint64_t& counter) noexcept { truncations_ = &counter; }

    /// For an answer in plain text, to who does not speak TLS.
    [[nodiscard]] stream& beneath() noexcept { return *under_; }

  private:
    friend struct tls_memory;

    [[nodiscard]] received decrypt();
    void note_failure();
    void require_bounds();
    [[noreturn]] void fail() const;
    task<> take_more();
    task<> flush();
    void flush_without_waiting() noexcept;

    const std::shared_ptr<const tls_context> context_;
    const std::unique_ptr<stream> under_;
    ssl_st* tls_ = nullptr;
    const tls_use use_;
    /// Of what comes until the handshake is over.
    handshake_bounds bounds_;
    /// What has come and was not decrypted yet, in `piece_`.
    received piece_;
    std::string_view in_;
    /// What is to be sent: behind what is being sent, of which `sent_` bytes are.
    std::string out_;
    std::string sending_;
    std::size_t sent_ = 0;
    mutex sender_;
    /// The peer has said that nothing more comes.
    bool is_ended_ = false;
    /// The handshake is over.
    bool is_ready_ = false;
    bool has_said_end_ = false;
    /// Why nothing more can be said, and how OpenSSL calls it.
    std::error_code failure_;
    std::uint64_t* truncations_ = nullptr;
    std::string failure_text_;
};

} // namespace sapwood
