// Where records are sent to, a batch at a time: a stream of lines, which is never answered, or a
// collector by HTTP, which is. Loop thread only.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/endpoint.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace sapwood::tools {

inline constexpr auto connect_within = std::chrono::seconds(10);

/// What has become of a batch.
struct send_answer {
    enum class kind : std::uint8_t {
        /// Of HTTP: acknowledged. Of a stream: the kernel has it.
        taken,
        /// It may be taken later; or it was taken, and the answer is lost.
        again,
        /// Never, as it is: a part of it may be.
        refused,
        /// Nothing will be taken.
        hopeless,
    };

    // A constructor, so that gcc 12 does not take it for an aggregate; see first_of.
    explicit send_answer(kind what, std::string reason = {}, clock::duration delay = {})
        : is(what),
          why(std::move(reason)),
          after(delay) {}

    kind is;
    std::string why;
    /// How long the other side asks to be left alone; zero: it does not say.
    clock::duration after;
    /// It is not `taken`, and a part of it may be there all the same.
    bool is_doubtful = false;
};

class send_target {
  public:
    virtual ~send_target() = default;

    /// Connects where it is not connected. Throws only `cancelled`.
    [[nodiscard]] virtual task<send_answer> send(std::string_view batch, std::uint64_t records) = 0;

    /// Of a stream: ends it, and waits for the other side to do so, which then has read everything.
    /// `taken`, with what is to be said of the end all the same, or `hopeless`: then some
    /// may_be_lost(). Throws only `cancelled`.
    [[nodiscard]] virtual task<send_answer> finish() = 0;

    /// Whether what is `taken` is acknowledged, and not only sent.
    [[nodiscard]] virtual bool is_acknowledged() const noexcept = 0;

    /// How many records at most were `taken` by a connection that then broke before it was known
    /// that they were read.
    [[nodiscard]] virtual std::uint64_t may_be_lost() const noexcept = 0;

    /// Whether a send() that is cancelled has not been in vain: the next one, with the same batch,
    /// goes on with it, and nothing of it is sent twice.
    [[nodiscard]] virtual bool goes_on() const noexcept { return false; }

    /// Of a batch that is not `taken`, and will not be sent again: how many of its records are.
    [[nodiscard]] virtual std::uint64_t taken_of_unfinished() const noexcept { return 0; }
};

/// Of TLS: PEM files, each of which may be none.
struct tls_send_options {
    /// Whom to believe; by default those whom the system believes.
    std::string ca;
    /// What we show, and its key.
    std::string certificate;
    std::string key;
};

/// `place` is a Unix socket's path or HOST:PORT; `end_within`: how long the other side may take to
/// end the connection, too.
[[nodiscard]] std::unique_ptr<send_target> make_unix_lines(const std::string& path,
                                                           clock::duration end_within);
[[nodiscard]] std::unique_ptr<send_target> make_tcp_lines(const std::string& place,
                                                          clock::duration end_within);

/// The same by TLS. Throws std::exception that says what is wrong with its files.
[[nodiscard]] std::unique_ptr<send_target> make_secured_lines(const std::string& place,
                                                              const tls_send_options& options,
                                                              clock::duration end_within);

struct http_options {
    /// `http://HOST:PORT[/PATH]`, `https://...`, or a Unix socket's path.
    std::string url;
    /// Of the log, where the URL has no path; empty: the collector's first.
    std::string log;
    /// accepted, written or durable; empty: as the collector has it.
    std::string ack;
    /// A bearer token; empty: none.
    std::string token;
    tls_send_options tls;
};

/// Throws std::exception that says what is wrong with the URL, or with files of TLS.
[[nodiscard]] std::unique_ptr<send_target> make_http(const http_options& options);

struct amqp_send_options {
    /// Of the broker: amqp://user:password@host/vhost. A secret.
    std::string url;
    /// Empty: the default one, whose routing keys are queues; this queue is declared, durable,
    /// where it is not there.
    std::string exchange;
    std::string routing_key;
    /// What the messages say of whom they are from; empty: nothing.
    std::string app;
    bool is_json = false;
};

/// Whether there is such a target in this build.
[[nodiscard]] bool has_amqp_target() noexcept;

/// Throws std::invalid_argument that says what is wrong with the URL.
[[nodiscard]] std::unique_ptr<send_target> make_amqp(const amqp_send_options& options);

/// A Unix socket by its path, or by an abstract name behind `@`. Throws std::system_error.
[[nodiscard]] endpoint unix_place(std::string_view path);

/// `example.org:514` and `[::1]:514`, in two. Throws std::invalid_argument.
struct host_and_port {
    std::string host;
    std::string port;
};

[[nodiscard]] host_and_port parse_host_and_port(std::string_view place);

} // namespace sapwood::tools
