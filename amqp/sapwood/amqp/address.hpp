// Where a broker is and who we are there: amqp://user:password@host:port/vhost. Values of any
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sapwood::amqp {

struct host_port {
    std::string host = "localhost";
    /// A number, or a service's name.
    std::string port = "5672";
};

struct address {
    /// At least one; of a cluster, several, which are tried in turn.
    std::vector<host_port> hosts;
    std::string user = "guest";
    std::string password = "guest";
    std::string vhost = "/";

    /// Without the password, for messages: `amqp://guest@localhost:5672/`.
    [[nodiscard]] std::string to_string() const;
};

/// `amqp://[user[:password]@]host[:port][,host[:port]...][/vhost]`, each part percent-encoded where
/// it has to be. No vhost, and an empty one, is the default one, `/`. An IPv6 address stands in
/// brackets. Throws std::invalid_argument that says what is wrong; the text has no password.
[[nodiscard]] address parse_address(std::string_view url);

} // namespace sapwood::amqp
