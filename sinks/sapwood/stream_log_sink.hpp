// stream_log_sink: what sinks have in common that send lines through a connection; tcp_log_sink is
// the one to a host. It connects again by itself, later and later where that fails, at random times
// so that not all clients of a server that was restarted come at once. On the consumer's loop.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/random_backoff.hpp>
#include <sapwood/socket_log_sink.hpp>
#include <sapwood/stream.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood {

class resolver;

/// How a receiver tells records apart.
enum class log_framing : std::uint8_t {
    /// A newline behind each.
    newline,
    /// Its size in decimal digits and a space before each, and no newline (RFC 6587).
    octet_counted,
    /// Its size in four bytes before each, the most significant first, and no newline.
    length_prefixed,
    /// A NUL behind each.
    nul_ended,
};

struct stream_log_options {
    log_framing framing = log_framing::newline;
    /// A longer record is cut, at a character, and ends in `\(cut)`.
    std::size_t record_bytes_max = 1u << 20;
    /// For an attempt to connect, looking up the name included.
    clock::duration connect_within = std::chrono::seconds(5);
    /// A peer that takes nothing for so long is given up: the connection is closed.
    clock::duration give_up_after = std::chrono::seconds(10);
    /// After the n-th failure in a row the next attempt is made after a random time between 0 and
    /// `retry_first` doubled n times, but `retry_max` at most.
    clock::duration retry_first = std::chrono::milliseconds(100);
    clock::duration retry_max = std::chrono::seconds(10);
    /// So long in all the handler of a crash waits for a peer that does not read.
    clock::duration crash_patience = std::chrono::seconds(1);
    /// Whether open() fails where nobody is there. Otherwise the log starts all the same, and
    /// connects when it first writes.
    bool must_connect = false;
};

class stream_log_sink : public socket_log_sink {
  public:
    [[nodiscard]] task<> open() override;

    /// Where the connection is gone, whole records that the kernel had taken from us are kept (see
    /// docs/log-outputs.md for what may have become of them), and one that was sent in part is sent
    /// again, from its beginning, on a new connection.
    [[nodiscard]] task<> write(std::span<const char> lines) override {
        return socket_log_sink::write(lines);
    }

    /// Ends the stream, and waits for the peer to do so, for a second at most.
    [[nodiscard]] task<> close() override;

    /// The parent's connection stays the parent's: the child has one of its own.
    [[nodiscard]] task<> open_in_child() override;

    /// Where the sink is connected: ends the record that was sent in part, and sends the others.
    /// Waits for a peer that does not read for `crash_patience` in all.
    bool write_in_crash(std::span<const char> lines) noexcept override;

  protected:
    explicit stream_log_sink(const stream_log_options& options);

    /// A connection. Throws std::system_error. Has `connect_within` for it.
    [[nodiscard]] virtual task<stream> connect() = 0;

  private:
    struct piece {
        std::size_t line_end;  // in the lines, behind the newline
        std::size_t frame_end; // in staged_
    };

    [[nodiscard]] task<> send(std::string_view lines) override;
    [[nodiscard]] task<> connect_again();
    [[nodiscard]] task<> disconnect();
    [[nodiscard]] task<std::error_code> send_staged();
    [[nodiscard]] int send_some() noexcept;
    [[nodiscard]] bool peer_has_ended() noexcept;
    void stage(std::string_view lines);
    void frame(std::string_view line);
    [[nodiscard]] std::size_t lines_within(std::size_t sent) const noexcept;

    // In a crash.
    [[nodiscard]] bool send_in_crash(std::span<const char> lines) noexcept;
    [[nodiscard]] bool end_write_in_crash(int fd, std::string_view& lines) noexcept;
    [[nodiscard]] bool send_line_in_crash(int fd, std::string_view line) noexcept;
    [[nodiscard]] bool send_parts_in_crash(int fd,
                                           std::span<const std::string_view> parts) noexcept;
    [[nodiscard]] bool wait_in_crash(int fd) noexcept;

    const stream_log_options options_;
    detail::random_backoff backoff_;
    stream connection_;
    /// Not before then.
    clock::time_point next_attempt_{};
    std::error_code last_failure_;
    std::string staged_;
    std::vector<piece> pieces_;

    // The handler of a crash looks at these.
    detail::crash_gate gate_;
    /// The connection, -1 where there is none.
    std::atomic<int> fd_{-1};
    /// Whether staged_ and pieces_ are whole, and how much of them the kernel has taken.
    std::atomic<bool> is_staged_{false};
    std::atomic<std::size_t> sent_{0};
    /// How long it still waits for the peer.
    std::int64_t crash_patience_ms_;
};

struct tcp_log_sink_options {
    std::string host;
    /// A number, or a name such as "syslog".
    std::string port;
    stream_log_options stream = {};
    /// Who looks the host up, each time that the sink connects; null: resolver::common().
    std::shared_ptr<resolver> names = {};
};

/// Lines to a host, which is looked up for each connection. All of its addresses are tried, as
/// connect_to does it.
class tcp_log_sink final : public stream_log_sink {
  public:
    explicit tcp_log_sink(tcp_log_sink_options options);

    [[nodiscard]] std::string describe() const override;

  protected:
    [[nodiscard]] task<stream> connect() override;

  private:
    const std::string host_;
    const std::string port_;
    const clock::duration give_up_after_;
    const std::shared_ptr<resolver> names_;
};

} // namespace sapwood
