#include <sapwood/amqp/address.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::amqp {

namespace {

[[nodiscard]] int hex_digit(char from) noexcept {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto at = digits.find(from >= 'A' && from <= 'F' ? static_cast<char>(from + 32) : from);
    return at == digits.npos ? -1 : static_cast<int>(at);
}

[[nodiscard]] std::string decoded(std::string_view part, const char* what) {
    std::string text;
    for (std::size_t i = 0; i < part.size(); ++i) {
        if (part[i] != '%') {
            text += part[i];
            continue;
        }
        if (i + 2 >= part.size() || hex_digit(part[i + 1]) < 0 || hex_digit(part[i + 2]) < 0) {
            throw std::invalid_argument(
                fmt::format("AMQP URL: the {} has a % that two hexadecimal digits do not follow; "
                            "a % itself is written %25",
                            what));
        }
        text += static_cast<char>(hex_digit(part[i + 1]) * 16 + hex_digit(part[i + 2]));
        i += 2;
    }
    return text;
}

[[nodiscard]] host_port parse_host(std::string_view from, bool is_secured) {
    host_port made;
    made.port = is_secured ? "5671" : "5672";
    std::string_view port;
    if (from.starts_with('[')) {
        const auto end = from.find(']');
        if (end == from.npos) {
            throw std::invalid_argument("AMQP URL: a host's [ has no ]");
        }
        made.host = from.substr(1, end - 1);
        port = from.substr(end + 1);
    } else {
        const auto colon = std::min(from.find(':'), from.size());
        made.host = decoded(from.substr(0, colon), "host");
        port = from.substr(colon);
    }
    if (made.host.empty()) {
        throw std::invalid_argument("AMQP URL: a host is missing: amqp://user:password@host/");
    }
    if (!port.empty()) {
        port.remove_prefix(port.front() == ':' ? 1 : 0);
        if (port.empty() || port.find_first_not_of("0123456789") != port.npos || port.size() > 5) {
            // Not quoted: it may be a password in which a / was not written %2f.
            throw std::invalid_argument("AMQP URL: what stands behind a host's : is no port");
        }
        made.port = port;
    }
    return made;
}

/// The scheme is taken from the front; whether it is the one with TLS.
[[nodiscard]] bool take_scheme(std::string_view& url) {
    for (const std::string_view scheme : {"amqp://", "amqps://"}) {
        if (url.starts_with(scheme)) {
            url.remove_prefix(scheme.size());
            return scheme.size() == std::string_view("amqps://").size();
        }
    }
    throw std::invalid_argument("AMQP URL: it begins with amqp:// or amqps://, as in "
                                "amqp://user:password@host:5672/vhost");
}

void require_one_of(std::string_view key, std::string_view value, std::string_view one,
                    std::string_view other) {
    if (value != one && value != other) {
        throw std::invalid_argument(fmt::format("AMQP URL: {} is {} or {}", key, one, other));
    }
}

void take_parameter(address& of, std::string_view key, const std::string& value) {
    if (key == "cacertfile") {
        of.tls.ca_file = value;
    } else if (key == "certfile") {
        of.tls.certificate_file = value;
    } else if (key == "keyfile") {
        of.tls.key_file = value;
    } else if (key == "server_name_indication") {
        of.tls.server_name = value;
    } else if (key == "verify") {
        require_one_of(key, value, "verify_peer", "verify_none");
        of.tls.verify = value == "verify_peer";
    } else if (key == "auth_mechanism") {
        require_one_of(key, value, "plain", "external");
        of.by = value == "external" ? login::certificate : login::password;
    } else {
        // Not quoted, as nothing behind the ? is: it may be a password in which that is not %3f.
        throw std::invalid_argument("AMQP URL: one of the parameters is none: there are "
                                    "cacertfile, certfile, keyfile, verify, "
                                    "server_name_indication and auth_mechanism");
    }
}

void take_parameters(address& of, std::string_view query) {
    if (!query.empty() && !of.is_secured) {
        throw std::invalid_argument("AMQP URL: what stands behind the ? is for TLS: say amqps:// "
                                    "instead of amqp://; a ? in "
                                    "a virtual host's name is written %3f");
    }
    while (!query.empty()) {
        const auto end = std::min(query.find('&'), query.size());
        const std::string_view each = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        const auto equals = each.find('=');
        if (equals == each.npos) {
            throw std::invalid_argument(
                "AMQP URL: one of the parameters has no value; a ? in a password is written %3f");
        }
        take_parameter(of, each.substr(0, equals), decoded(each.substr(equals + 1), "parameter"));
    }
}

} // namespace

std::string address::to_string() const {
    std::string text = is_secured ? "amqps://" : "amqp://";
    text += by == login::password ? user + "@" : "";
    for (const host_port& each : hosts) {
        const bool is_ipv6 = each.host.find(':') != each.host.npos;
        text += fmt::format(fmt::runtime(is_ipv6 ? "{}[{}]:{}" : "{}{}:{}"),
                            &each == hosts.data() ? "" : ",", each.host, each.port);
    }
    return text + (vhost == "/" ? "/" : "/" + vhost);
}

address parse_address(std::string_view url) {
    address made;
    made.is_secured = take_scheme(url);
    const auto question = std::min(url.find('?'), url.size());
    const std::string_view query = url.substr(std::min(question + 1, url.size()));
    url = url.substr(0, question);
    const auto slash = std::min(url.find('/'), url.size());
    std::string_view authority = url.substr(0, slash);
    const std::string_view path = url.substr(std::min(slash + 1, url.size()));

    if (const auto at = authority.rfind('@'); at != authority.npos) {
        const std::string_view who = authority.substr(0, at);
        const auto colon = std::min(who.find(':'), who.size());
        made.user = decoded(who.substr(0, colon), "user");
        if (colon < who.size()) {
            made.password = decoded(who.substr(colon + 1), "password");
        }
        authority.remove_prefix(at + 1);
    }
    while (true) {
        const auto comma = std::min(authority.find(','), authority.size());
        made.hosts.push_back(parse_host(authority.substr(0, comma), made.is_secured));
        if (comma == authority.size()) {
            break;
        }
        authority.remove_prefix(comma + 1);
    }
    if (path.find_first_of("/#@") != path.npos) {
        throw std::invalid_argument(
            "AMQP URL: behind the virtual host only ? may stand; a / in its name, or in a "
            "password, is written %2f, a # %23, and an @ %40");
    }
    if (!path.empty()) {
        made.vhost = decoded(path, "virtual host");
    }
    take_parameters(made, query);
    return made;
}

} // namespace sapwood::amqp
