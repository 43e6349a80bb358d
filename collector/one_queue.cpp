// Whether two queues are one, by whichever of its names their broker is called.
#include "queue_options.hpp"

#include <sapwood/amqp/address.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>
#include <string>
#include <string_view>

namespace sapwood::collector {

namespace {

/// A host's name or address as it is usually written; what is this machine itself, one for all.
std::string usual_host(std::string name) {
    std::ranges::transform(name, name.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (name.ends_with('.')) {
        name.pop_back();
    }
    in6_addr six{};
    if (::inet_pton(AF_INET6, name.c_str(), &six) == 1) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        if (IN6_IS_ADDR_V4MAPPED(&six)) {
            name = ::inet_ntop(AF_INET, &six.s6_addr[12], text.data(), text.size());
        } else {
            name = ::inet_ntop(AF_INET6, &six, text.data(), text.size());
        }
    }
    in_addr four{};
    const bool is_loopback = ::inet_pton(AF_INET, name.c_str(), &four) == 1
                                 ? (ntohl(four.s_addr) >> 24) == IN_LOOPBACKNET
                                 : name == "::1" || name == "ip6-localhost";
    return is_loopback ? "localhost" : name;
}

/// RabbitMQ's own two, without TLS and with it, are one broker's.
std::string_view usual_port(std::string_view port) {
    port.remove_prefix(std::min(port.find_first_not_of('0'), port.size()));
    return port == "5671" ? "5672" : port;
}

} // namespace

bool is_one_queue(const queue_options& one, const queue_options& other) {
    const amqp::address at = amqp::parse_address(one.url);
    const amqp::address there = amqp::parse_address(other.url);
    const auto is_there = [&](const amqp::host_port& each) {
        return std::ranges::any_of(there.hosts, [&](const amqp::host_port& host) {
            return usual_host(host.host) == usual_host(each.host) &&
                   usual_port(host.port) == usual_port(each.port);
        });
    };
    return one.queue == other.queue && at.vhost == there.vhost &&
           std::ranges::any_of(at.hosts, is_there);
}

} // namespace sapwood::collector
