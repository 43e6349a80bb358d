// endpoint: where a socket is, an address and port of IPv4 or IPv6 or the name of a Unix socket. A
// plain value: any thread. Names of hosts are for resolve.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace sapwood {

class endpoint {
  public:
    /// No place at all.
    endpoint() noexcept = default;

    /// A numeric address ("127.0.0.1", "::1", "fe80::1%eth0") and a port; 0 is any free one. Throws
    /// std::system_error that names what is wrong.
    endpoint(std::string_view address, std::uint16_t port);

    /// Reads what to_string prints: "127.0.0.1:80", "[::1]:80", "unix:/run/app.sock" or, for a name
    /// in the abstract name space, "unix:@app". Throws std::system_error that names what is wrong.
    [[nodiscard]] static endpoint parse(std::string_view text);

    /// A Unix socket in the file system. Throws std::system_error where the path is longer than the
    /// kernel takes (107 bytes).
    [[nodiscard]] static endpoint unix_path(std::string_view path);

    /// A Unix socket in the abstract name space: gone with its socket, and open to every process of
    /// the same network name space, whoever runs it.
    [[nodiscard]] static endpoint unix_abstract(std::string_view name);

    /// What the kernel filled in.
    endpoint(const sockaddr* address, socklen_t size) noexcept;

    /// AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC of one that is no place.
    [[nodiscard]] int family() const noexcept { return storage_.ss_family; }

    /// 0 for a Unix socket.
    [[nodiscard]] std::uint16_t port() const noexcept;

    /// Without the port. Of a Unix socket the path or "@name", with what is not printable as \xNN.
    [[nodiscard]] std::string address() const;

    /// The path of a Unix socket as it is in the file system; empty where it has none.
    [[nodiscard]] std::string path() const;

    /// As parse reads it. A Unix socket without a name is "unix:", and no place is "nowhere"; parse
    /// takes neither.
    [[nodiscard]] std::string to_string() const;

    [[nodiscard]] const sockaddr* data() const noexcept {
        return reinterpret_cast<const sockaddr*>(&storage_);
    }

    [[nodiscard]] socklen_t size() const noexcept { return size_; }

    friend bool operator==(const endpoint& one, const endpoint& other) noexcept;

  private:
    [[nodiscard]] std::string_view unix_name() const noexcept;
    void set_unix(std::string_view name, bool is_path) noexcept;

    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

} // namespace sapwood
