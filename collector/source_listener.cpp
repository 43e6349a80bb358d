#include "source_listener.hpp"

#include "datagram_source.hpp"
#include "http_session.hpp"
#include "line_session.hpp"
#include "passed_descriptors.hpp"
#include "tls_handshake.hpp"

#include <sapwood/sleep.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/unix_socket.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fmt/format.h>
#include <new>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>
#include <utility>

namespace sapwood::collector {

namespace {

/// Of a request that is not read.
constexpr std::string_view over_share =
    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    "Connection: close\r\nContent-Length: 70\r\n\r\n"
    R"({"status":"0","result":"you have as many connections as one may have"})";
static_assert(over_share.size() - over_share.find('{') == 70);

/// A task for each connection.
class stream_listener final : public source_listener {
  public:
    /// `inherited` listens already, if it is open. `tls` is the one of the moment, for connections
    /// that come.
    stream_listener(const listen_options& options, named_log& to, owned_fd inherited,
                    bool is_secured, const std::shared_ptr<const tls_context>& tls)
        : kind_(options.kind),
          is_secured_(is_secured),
          tls_(tls),
          log_(to),
          users_(options.users) {
        const bool is_unix = options.at.family() == AF_UNIX;
        if (inherited.is_open()) {
            if (is_unix) {
                unix_ = unix_listener::adopt(std::move(inherited));
            } else {
                tcp_ = tcp_listener::adopt(std::move(inherited));
            }
        } else if (is_unix) {
            // The mode that was asked for, whatever the umask is.
            const mode_t before = ::umask(0777 & ~options.mode);
            try {
                unix_ = unix_listener(options.at, {.mode = options.mode});
            } catch (...) {
                ::umask(before);
                throw;
            }
            ::umask(before);
        } else {
            tcp_ = tcp_listener(options.at);
        }
        if (is_unix) {
            refuse_descriptors(unix_.fd());
        }
    }

    task<> run(intake& shared, connections& all) override {
        for (;;) {
            try {
                co_await all.room();
                co_await take_one(shared, all);
                continue;
            } catch (const std::bad_alloc&) {
                // The end of that connection only: there may be memory for the next.
            }
            co_await yield(); // or it might try for ever, and nobody give any back
        }
    }

    void set_users(std::vector<uid_t> users) override { users_ = std::move(users); }

    [[nodiscard]] endpoint local_endpoint() const override {
        return unix_.is_open() ? unix_.local_endpoint() : tcp_.local_endpoint();
    }

  private:
    task<> take_one(intake& shared, connections& all) {
        std::unique_ptr<stream> peer;
        source from;
        if (unix_.is_open()) {
            auto accepted = std::make_unique<unix_stream>(co_await unix_.accept());
            refuse_descriptors(accepted->fd()); // it may have come before the listener was ours
            const credentials who = accepted->peer_credentials();
            if (!is_user(users_, who.uid)) {
                ++shared.gate.users_refused;
                co_return;
            }
            from = source::process(word(), who.pid, who.uid, who.gid);
            peer = std::move(accepted);
        } else {
            auto accepted = std::make_unique<tcp_stream>(co_await tcp_.accept());
            try {
                from = source::network(word(), accepted->peer_endpoint());
            } catch (const std::system_error&) {
                co_return; // it is gone already
            }
            peer = std::move(accepted);
        }
        const peer_id who = from.who;
        if (all.has_its_share(who, from.name)) {
            refuse(*peer);
            co_return;
        }
        all.add(connection_of(shared, all, std::move(peer), std::move(from)), who);
    }

    /// Says why, to who can be told, and does not wait for anything. What has come is read, since a
    /// close resets the connection otherwise.
    void refuse(stream& peer) const noexcept {
        if (kind_ == source_kind::http && !is_secured_) {
            char request[4096];
            (void)::recv(peer.fd(), request, sizeof(request), MSG_DONTWAIT);
            (void)::send(peer.fd(), over_share.data(), over_share.size(),
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }

    [[nodiscard]] std::string_view word() const noexcept {
        if (kind_ == source_kind::http) {
            return "http";
        }
        return unix_.is_open() ? "unix" : "tcp";
    }

    [[nodiscard]] std::unique_ptr<connection> connection_of(intake& shared, connections& all,
                                                            std::unique_ptr<stream> peer,
                                                            source from) const {
        if (!is_secured_) {
            return session_of(kind_, unix_.is_open() ? reach::unix_socket : reach::tcp, log_,
                              shared, std::make_unique<peer_stream>(std::move(peer)),
                              std::move(from));
        }
        const tls_use use = kind_ == source_kind::http ? tls_use::http : tls_use::one_way;
        // It may come to an end when this listener is gone: it has what it needs by itself.
        return std::make_unique<tls_handshake>(
            shared, all, std::move(peer), tls_, use, std::move(from),
            [kind = kind_, to = &log_, &shared](std::unique_ptr<peer_stream> secured, source who) {
                return session_of(kind, reach::tls, *to, shared, std::move(secured),
                                  std::move(who));
            });
    }

    /// By what a peer has come.
    enum class reach : std::uint8_t { unix_socket, tcp, tls };

    [[nodiscard]] static std::unique_ptr<connection> session_of(source_kind kind, reach by,
                                                                named_log& to, intake& shared,
                                                                std::unique_ptr<peer_stream> peer,
                                                                source from) {
        if (kind == source_kind::http) {
            constexpr browser_guard guards[] = {browser_guard::none, browser_guard::pages_and_names,
                                                browser_guard::pages};
            return std::make_unique<http_session>(shared, std::move(peer), std::move(from),
                                                  guards[static_cast<std::size_t>(by)]);
        }
        const line_kind lines = kind == source_kind::syslog ? line_kind::syslog : line_kind::any;
        return std::make_unique<line_session>(shared, to, lines, std::move(peer), std::move(from),
                                              by != reach::unix_socket);
    }

    const source_kind kind_;
    const bool is_secured_;
    const std::shared_ptr<const tls_context>& tls_;
    named_log& log_;
    std::vector<uid_t> users_;
    tcp_listener tcp_;
    unix_listener unix_;
};

class datagram_listener final : public source_listener {
  public:
    datagram_listener(const listen_options& options, named_log& to, owned_fd inherited)
        : source_(inherited.is_open() ? datagram_source(std::move(inherited))
                                      : datagram_source(options.at, options.mode)),
          log_(to) {
        source_.set_users(options.users);
    }

    task<> run(intake& shared, connections&) override { return source_.run(shared, log_); }

    [[nodiscard]] endpoint local_endpoint() const override { return source_.local_endpoint(); }

    void set_users(std::vector<uid_t> users) override { source_.set_users(std::move(users)); }

  private:
    datagram_source source_;
    named_log& log_;
};

} // namespace

std::unique_ptr<source_listener> listen_at(const listen_options& options, named_log& to,
                                           owned_fd inherited,
                                           const std::shared_ptr<const tls_context>& tls) {
    try {
        if (options.is_stream()) {
            return std::make_unique<stream_listener>(options, to, std::move(inherited),
                                                     is_secured(options, tls != nullptr), tls);
        }
        return std::make_unique<datagram_listener>(options, to, std::move(inherited));
    } catch (const std::system_error& failure) {
        const auto folder = std::filesystem::path(options.at.path()).parent_path();
        std::error_code unknown;
        if (failure.code() == std::errc::no_such_file_or_directory && !folder.empty() &&
            !std::filesystem::exists(folder, unknown)) {
            throw std::system_error(
                failure.code(),
                fmt::format("{} cannot be made, for there is no folder {}: make it, "
                            "or say another path",
                            options.at.to_string(), folder.string()));
        }
        throw;
    }
}

} // namespace sapwood::collector
