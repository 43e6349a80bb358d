#include "http_response.hpp"
#include "secured_peer.hpp"
#include "send_target.hpp"

#include <sapwood/connect.hpp>
#include <sapwood/escape.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/unix_socket.hpp>
#include <sapwood/words_of.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <sys/socket.h>
#include <system_error>
#include <utility>

namespace sapwood::tools {

namespace {

using namespace std::chrono_literals;

/// The collector answers within 30 s, with 503 if need be.
constexpr auto answer_within = 60s;

using kind = send_answer::kind;

kind kind_of(int status) noexcept {
    switch (status) {
    case 400: // a part of it may be right
    case 413:
    case 422:
        return kind::refused;
    case 408:
    case 425:
    case 429:
        return kind::again;
    default:
        return status < 300                                      ? kind::taken
               : status >= 500 && status != 501 && status != 505 ? kind::again
                                                                 : kind::hopeless;
    }
}

/// A path has a slash, and neither a scheme nor what could be a host before it.
bool is_socket(std::string_view url) noexcept {
    return url.find("://") == url.npos &&
           (url.starts_with('@') || url.starts_with('.') || url.starts_with("unix:") ||
            (url.find('/') != url.npos && url.substr(0, url.find('/')).find(':') == url.npos));
}

class http_target final : public send_target {
  public:
    explicit http_target(const http_options& options) {
        std::string_view url = options.url;
        std::string path;
        if (is_socket(url)) {
            constexpr std::string_view prefix = "unix:";
            socket_ = url.substr(url.starts_with(prefix) ? prefix.size() : 0);
            host_ = "localhost";
        } else {
            const bool is_secured = url.starts_with("https://");
            if (is_secured || url.starts_with("http://")) {
                url.remove_prefix(url.find("//") + 2);
            }
            const std::size_t slash = std::min(url.find('/'), url.size());
            path = url.substr(slash);
            host_ = url.substr(0, slash);
            const bool has_port = host_.find(':', host_.find(']') + 1) != host_.npos;
            const std::string_view usual_port = is_secured ? ":443" : ":80";
            place_ = parse_host_and_port(has_port ? host_ : host_ + std::string(usual_port));
            if (is_secured) {
                tls_ = context_of(place_, options.tls);
            }
        }
        if (path.empty() || path == "/") {
            path = options.log.empty() ? "/log" : "/log/" + options.log;
        } else if (!options.log.empty()) {
            throw std::invalid_argument("--log and a path in the URL: one of the two");
        }
        if (!options.ack.empty()) {
            path += (path.find('?') == path.npos ? "?ack=" : "&ack=") + options.ack;
        }
        const auto is_printable = [](char c) { return c > ' ' && c < '\x7f'; };
        if (!std::ranges::all_of(path + host_ + options.token, is_printable)) {
            throw std::invalid_argument(
                "the URL, the log and the token have printable characters, and no spaces");
        }
        head_ = fmt::format("POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sapwood\r\n"
                            "Content-Type: application/x-ndjson\r\n{}Content-Length: ",
                            path, host_,
                            options.token.empty()
                                ? ""
                                : fmt::format("Authorization: Bearer {}\r\n", options.token));
    }

    task<send_answer> send(std::string_view batch, std::uint64_t /*records*/) override {
        bool is_begun = false;
        try {
            if (!is_connected() || has_news()) {
                co_await connect();
            }
            const std::string head = fmt::format("{}{}\r\n\r\n", head_, batch.size());
            http_response answer;
            is_begun = true;
            try {
                co_await write(head, batch);
            } catch (const std::system_error&) {
                // It may have been refused before it was read: then there is an answer.
                is_broken_ = true;
            }
            answer = co_await timeout(answer_within, read());
            const bool was_broken = std::exchange(is_broken_, false);
            if (answer.is_last || was_broken) {
                drop();
            }
            send_answer result(kind_of(answer.status), text_of(answer), answer.retry_after);
            if (was_broken && result.is == kind::taken) {
                result.is = kind::again; // it answers what it has not got
            }
            // Of a collector that is in trouble, a part may be written.
            result.is_doubtful = answer.status < 300 || answer.status >= 500;
            co_return result;
        } catch (const std::system_error& error) {
            drop();
            is_broken_ = false;
            send_answer result(is_hopeless(error.code()) ? kind::hopeless : kind::again,
                               words_of(error));
            result.is_doubtful = is_begun;
            co_return result;
        } catch (const cancelled&) {
            drop();
            throw;
        }
    }

    task<send_answer> finish() override {
        drop();
        co_return send_answer(kind::taken);
    }

    [[nodiscard]] bool is_acknowledged() const noexcept override { return true; }

    [[nodiscard]] std::uint64_t may_be_lost() const noexcept override { return 0; }

  private:
    [[nodiscard]] bool is_connected() const noexcept {
        return peer_ != nullptr || secured_.is_open();
    }

    void drop() noexcept {
        peer_.reset();
        secured_ = {};
    }

    /// The other side has ended the connection, or says what it was not asked for.
    [[nodiscard]] bool has_news() const noexcept {
        char byte = 0;
        const int fd = peer_ != nullptr ? peer_->fd() : secured_.fd();
        return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
    }

    task<> write(std::string_view head, std::string_view body) {
        if (secured_.is_open()) {
            co_await secured_.write_all(head);
            co_await secured_.write_all(body);
        } else {
            const std::span<const char> parts[] = {head, body};
            co_await peer_->write_all(parts);
        }
    }

    task<http_response> read() {
        return secured_.is_open() ? http_response::read(secured_) : http_response::read(*peer_);
    }

    task<> connect() {
        drop();
        if (tls_ != nullptr) {
            secured_ = co_await secured_peer::connect(place_, tls_);
        } else if (!socket_.empty()) {
            const endpoint at = unix_place(socket_);
            unix_stream made = co_await timeout(connect_within, unix_stream::connect(at));
            peer_ = std::make_unique<unix_stream>(std::move(made));
        } else {
            tcp_stream made =
                co_await timeout(connect_within, connect_to(place_.host, place_.port));
            peer_ = std::make_unique<tcp_stream>(std::move(made));
        }
    }

    [[nodiscard]] static std::string text_of(const http_response& answer) {
        std::string_view text = answer.body;
        while (text.ends_with('\n') || text.ends_with('\r')) {
            text.remove_suffix(1);
        }
        std::string said = fmt::format("HTTP status {}{}", answer.status, text.empty() ? "" : ": ");
        escape(text, said); // it goes to a terminal
        return said;
    }

    /// Of a Unix socket; empty otherwise.
    std::string socket_;
    host_and_port place_;
    std::string host_;
    std::string head_;
    std::shared_ptr<const tls_context> tls_;
    /// One of these, while it is connected.
    std::unique_ptr<stream> peer_;
    secured_peer secured_;
    bool is_broken_ = false;
};

} // namespace

std::unique_ptr<send_target> make_http(const http_options& options) {
    return std::make_unique<http_target>(options);
}

} // namespace sapwood::tools
