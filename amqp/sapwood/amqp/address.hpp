// Where a broker is, who we are there, and by what it is believed to be the one that is meant:
// amqp://user:password@host:port/vhost, amqps:// for TLS. Values of any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::amqp {

struct host_port {
    std::string host = "localhost";
    /// A number, or a service's name.
    std::string port = "5672";
};

/// Files are PEM, and are read again for each connection: new ones need no restart.
struct tls_settings {
    /// Who has signed the broker's certificate. Empty: somebody whom the system believes.
    std::string ca_file = {};
    /// What we show the broker: our certificate, its chain behind it, and its key, without a
    /// password. Empty: nothing.
    std::string certificate_file = {};
    std::string key_file = {};
    /// The name or address that the broker's certificate must be for. Empty: each host's own.
    std::string server_name = {};
    /// False: whoever answers is believed. Then somebody in between reads passwords and messages.
    bool verify = true;
};

/// How we log in.
enum class login : std::uint8_t {
    /// SASL PLAIN.
    password,
    /// SASL EXTERNAL: by the certificate that we have shown. RabbitMQ needs its plugin
    /// rabbitmq_auth_mechanism_ssl for it.
    certificate,
};

struct address {
    /// At least one; of a cluster, several, which are tried in turn.
    std::vector<host_port> hosts;
    std::string user = "guest";
    std::string password = "guest";
    std::string vhost = "/";
    /// By TLS 1.2 or 1.3, and only so; then `tls` counts.
    bool is_secured = false;
    tls_settings tls = {};
    login by = login::password;

    /// Without the password, for messages: `amqp://guest@localhost:5672/`.
    [[nodiscard]] std::string to_string() const;
};

/// `amqp://[user[:password]@]host[:port][,host[:port]...][/vhost]`, each part percent-encoded where
/// it has to be. No vhost, and an empty one, is the default one, `/`. An IPv6 address stands in
/// brackets. `amqps://` is the same over TLS, on port 5671 by default, and may end in parameters as
/// RabbitMQ's own clients have them: `?cacertfile=FILE&certfile=FILE&keyfile=FILE`,
/// `verify=verify_none`, `server_name_indication=NAME`, `auth_mechanism=external`. Throws
/// std::invalid_argument that says what is wrong; the text has no password.
[[nodiscard]] address parse_address(std::string_view url);

} // namespace sapwood::amqp
