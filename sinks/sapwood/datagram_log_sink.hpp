// datagram_log_sink: what sinks have in common that send a datagram for each line; udp_log_sink is
// the plain one. Sends never wait: where the receiver's queue is full the sink waits for room and
// everybody else goes on. On the consumer's loop.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/socket.hpp>
#include <sapwood/socket_log_sink.hpp>

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

struct datagram_limits {
    /// A longer record is cut, at a character, and ends in `\(cut)`. So it is where the socket
    /// takes less than this.
    std::size_t bytes_max = 8192;
    /// A receiver whose queue is full for so long counts as failing; so does a name that is not
    /// found in this time.
    clock::duration give_up_after = std::chrono::seconds(1);
    /// Whether open() fails where nobody is there. Otherwise the log starts all the same, and
    /// connects when it first writes.
    bool must_connect = false;
};

class datagram_log_sink : public socket_log_sink {
  public:
    [[nodiscard]] task<> open() override;

    /// Connects again, once, where the connection is gone.
    [[nodiscard]] task<> write(std::span<const char> lines) override {
        return socket_log_sink::write(lines);
    }

    [[nodiscard]] task<> close() override;

    /// The child has a socket of its own.
    [[nodiscard]] task<> open_in_child() override;

    /// A datagram for each line, where the sink is connected and there is room.
    bool write_in_crash(std::span<const char> lines) noexcept override;

    /// Records that were cut. Any thread.
    [[nodiscard]] std::uint64_t records_cut() const noexcept {
        return cut_.load(std::memory_order_relaxed);
    }

    /// How often the receiver's host has said that nobody listens; what was sent is lost then, at
    /// least one record each time. Any thread.
    [[nodiscard]] std::uint64_t refusals() const noexcept {
        return refusals_.load(std::memory_order_relaxed);
    }

  protected:
    explicit datagram_log_sink(const datagram_limits& limits);

    /// A connected socket. Throws std::system_error.
    [[nodiscard]] virtual task<socket> connect() = 0;

    /// Appends the datagram for a line, which has no newline.
    virtual void encode(std::string_view line, std::string& to);

    /// Sends one that is longer than the socket takes in some other way: 0, or the error; EMSGSIZE
    /// where there is none, and it has to be cut.
    [[nodiscard]] virtual int send_long(int fd, std::string_view datagram);

    /// Sends one line in a crash; async-signal-safe. By default as it is, between the last words
    /// where it has no form of the sink's own.
    [[nodiscard]] virtual bool send_in_crash(int fd, std::string_view line) noexcept;

    /// Asked before each batch while the sink is connected: whether it is to connect anew.
    [[nodiscard]] virtual bool is_outdated() { return false; }

    /// What it is connected to fails, or says that nobody listens. Whether connect() may find
    /// another place.
    [[nodiscard]] virtual bool has_failed() noexcept { return false; }

    /// Of the given kind, connected at once. For connect().
    [[nodiscard]] static socket connect_now(const endpoint& to, int type);

    [[nodiscard]] clock::duration give_up_after() const noexcept { return limits_.give_up_after; }

  private:
    struct piece {
        std::size_t line_end;     // in the lines, behind the newline
        std::size_t datagram_end; // in staged_
    };

    [[nodiscard]] task<> send(std::string_view lines) override;
    [[nodiscard]] task<> connect_again();
    void stage(std::string_view lines);
    [[nodiscard]] std::size_t send_staged() noexcept;
    [[nodiscard]] int send_first_long();
    [[nodiscard]] task<> wait_for_room();

    datagram_limits limits_;
    socket socket_;
    /// Errors of earlier datagrams come back: the network's, and not a Unix socket's.
    bool is_of_network_ = false;
    std::string staged_;
    std::vector<piece> pieces_;
    std::atomic<std::uint64_t> cut_{0};
    std::atomic<std::uint64_t> refusals_{0};
};

struct udp_log_sink_options {
    std::string host;
    /// A number, or a name such as "syslog".
    std::string port;
    /// What goes through Ethernet in one piece, in IPv6, too.
    datagram_limits limits = {.bytes_max = 1440};
    /// So often the host is looked up again while it is logged to, and nobody waits for that; what
    /// was known before is used until an answer comes. 0: never.
    clock::duration look_up_every = std::chrono::minutes(1);
    /// Who looks it up; null: resolver::common().
    std::shared_ptr<resolver> names = {};
};

/// Lines to a UDP port, each a datagram, without its newline. UDP promises nothing: what a network
/// or a receiver drops is not known here. Where the host has several addresses, the sink stays with
/// one as long as nothing says that it is of no use: no way to it, or a refusal; then it takes the
/// next.
class udp_log_sink final : public datagram_log_sink {
  public:
    explicit udp_log_sink(udp_log_sink_options options);

    [[nodiscard]] std::string describe() const override;

  protected:
    [[nodiscard]] task<socket> connect() override;
    [[nodiscard]] bool is_outdated() override;
    [[nodiscard]] bool has_failed() noexcept override;

  private:
    /// What a look-up beside the sending finds, which may outlive the sink.
    struct finding {
        std::vector<endpoint> addresses;
        bool is_done = false;
    };

    static task<> look_up(std::shared_ptr<resolver> names, std::string host, std::string port,
                          std::shared_ptr<finding> into);
    void note_look_up();

    const udp_log_sink_options options_;
    std::vector<endpoint> addresses_;
    /// Of addresses_, which is used, or is to be tried first.
    std::size_t present_ = 0;
    clock::time_point look_up_at_{};
    std::shared_ptr<finding> finding_;
};

} // namespace sapwood
