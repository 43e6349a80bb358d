// resolve: the addresses of a host by its name, as this machine finds them (getaddrinfo: files,
// DNS, mDNS, whatever nsswitch.conf says). docs/sockets.md tells why not by a DNS library. Loop
// thread only, but a resolver may be used from any loop.
#pragma once

#include <sapwood/endpoint.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace sapwood {

/// Which addresses are wanted.
enum class address_family : std::uint8_t { any, v4, v6 };

/// Why a name has no address. The text of the exception also has the name.
enum class resolve_errc {
    /// No such host, or no such service.
    not_found = 1,
    /// The host is there and has no address of the family.
    no_address,
    /// The name servers do not answer; they may later.
    try_again,
    /// A name server refused, or gave nonsense.
    server_failed,
    /// The name of the service is not known, as in /etc/services.
    unknown_service,
    /// Anything else that getaddrinfo says.
    other,
};

[[nodiscard]] const std::error_category& resolve_category() noexcept;
[[nodiscard]] std::error_code make_error_code(resolve_errc value) noexcept;

/// What is asked for a name.
struct name_query {
    // A constructor, so that gcc 12 does not take it for an aggregate; see first_of.
    name_query(std::string host_name, std::string service_name,
               address_family wanted = address_family::any)
        : host(std::move(host_name)),
          service(std::move(service_name)),
          family(wanted) {}

    std::string host;
    /// A port in numbers, or a name such as "http".
    std::string service;
    address_family family;
};

/// Looks names up on threads of its own: a name server that is dead holds those, for as long as
/// resolv.conf's timeout and attempts say, and nobody's run_blocking.
class resolver {
  public:
    /// Lookups at once. More wait in line, first come, first served; each is one task that waits.
    static constexpr std::size_t lookups_max_default = 16;

    /// Called on a thread of the resolver, which may be several at once; throws std::system_error.
    /// May go on after who asked has been cancelled, and after the resolver is gone.
    using lookup_function = std::function<std::vector<endpoint>(const name_query&)>;

    /// `lookups_max` is at least 1. `lookup` is by default getaddrinfo.
    explicit resolver(std::size_t lookups_max = lookups_max_default, lookup_function lookup = {});
    resolver(const resolver&) = delete;
    resolver& operator=(const resolver&) = delete;

    /// Nobody may wait for it any more. Lookups that were given up go on, and end their threads.
    ~resolver();

    /// The addresses of `host`, at least one, the one to be tried first in front (RFC 6724). Where
    /// host and service are numbers no lookup is made. Throws std::system_error with resolve_errc,
    /// or with the system's error where the lookup could not be made. Cancelled it throws
    /// `cancelled` at once: the lookup cannot be broken off, it keeps its thread until it ends, and
    /// what comes of it is dropped.
    [[nodiscard]] task<std::vector<endpoint>> resolve(std::string host, std::string service,
                                                      address_family family = address_family::any);

    /// Lookups that run, those that were given up included. Any thread.
    [[nodiscard]] std::size_t lookups() const noexcept;

    /// The resolver of resolve(): one for the whole process.
    [[nodiscard]] static resolver& common();

  private:
    class state;
    class lookup_awaiter;

    std::shared_ptr<state> state_;
};

/// The same with the process's common resolver.
[[nodiscard]] task<std::vector<endpoint>> resolve(std::string host, std::string service,
                                                  address_family family = address_family::any);

} // namespace sapwood

template <>
struct std::is_error_code_enum<sapwood::resolve_errc> : std::true_type {};
