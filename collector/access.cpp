#include "access.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <fmt/format.h>
#include <fstream>
#include <netinet/in.h>
#include <sstream>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <utility>

namespace sapwood::collector {

namespace {

constexpr std::size_t secret_bytes_min = 16;

/// Looks at every byte, whichever differ.
bool is_same_secret(std::string_view one, std::string_view other) noexcept {
    unsigned char difference = one.size() == other.size() ? 0 : 1;
    for (std::size_t i = 0; i < one.size() && !other.empty(); ++i) {
        difference = static_cast<unsigned char>(
            difference | (static_cast<unsigned char>(one[i]) ^
                          static_cast<unsigned char>(other[i % other.size()])));
        asm volatile("" : "+r"(difference)); // no early end
    }
    return difference == 0;
}

std::vector<std::string> names_of(std::string_view list) {
    std::vector<std::string> names;
    while (!list.empty()) {
        const auto comma = std::min(list.find(','), list.size());
        names.emplace_back(list.substr(0, comma));
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return names;
}

access_token token_of(const std::string& line, const std::string& where) {
    std::istringstream words(line);
    access_token token;
    words >> token.name >> token.secret;
    if (token.secret.size() < secret_bytes_min) {
        throw std::runtime_error(
            fmt::format("{}: a token is a name and a secret of at least {} characters", where,
                        secret_bytes_min));
    }
    for (std::string word; words >> word;) {
        const std::string_view text = word;
        if (text.starts_with("logs=")) {
            token.logs = names_of(text.substr(5));
            continue;
        }
        std::uint64_t rate = 0;
        const auto read = std::from_chars(text.data() + std::min<std::size_t>(5, text.size()),
                                          text.data() + text.size(), rate);
        if (!text.starts_with("rate=") || read.ec != std::errc() || rate == 0 ||
            read.ptr != text.data() + text.size()) {
            throw std::runtime_error(
                fmt::format("{}: \"{}\" is neither logs=NAME,... nor rate=NUMBER", where, word));
        }
        token.records_per_second = rate;
    }
    return token;
}

} // namespace

std::vector<access_token> read_tokens(const std::string& path) {
    struct stat found {};

    if (::stat(path.c_str(), &found) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot read tokens from " + path);
    }
    if ((found.st_mode & 0077) != 0) {
        throw std::system_error(EACCES, std::generic_category(),
                                path + " holds secrets, and others may read it: chmod 600 it");
    }
    std::ifstream file(path);
    if (!file) {
        throw std::system_error(errno, std::generic_category(), "cannot read tokens from " + path);
    }
    std::vector<access_token> tokens;
    unsigned number = 0;
    for (std::string line; std::getline(file, line);) {
        ++number;
        const auto begin = line.find_first_not_of(" \t\r");
        if (begin == line.npos || line[begin] == '#') {
            continue;
        }
        tokens.push_back(token_of(line, fmt::format("{}:{}", path, number)));
    }
    if (tokens.empty()) {
        throw std::runtime_error(path + " holds no token: then nobody could send anything");
    }
    return tokens;
}

void access_rules::set_tokens(std::vector<access_token> tokens) {
    holders_.clear();
    for (access_token& each : tokens) {
        const auto rate = static_cast<double>(each.records_per_second);
        holders_.push_back({std::move(each), rate, {}});
    }
}

access_rules::holder* access_rules::find(std::string_view authorization) noexcept {
    constexpr std::string_view scheme = "Bearer ";
    if (!authorization.starts_with(scheme)) {
        return nullptr;
    }
    holder* found = nullptr;
    for (holder& each : holders_) {
        if (is_same_secret(authorization.substr(scheme.size()), each.token.secret)) {
            found = &each;
        }
    }
    return found;
}

bool access_rules::allows(holder& who, std::uint64_t records, clock::time_point now) {
    if (who.token.records_per_second == 0) {
        return true;
    }
    const auto rate = static_cast<double>(who.token.records_per_second);
    const double seconds = std::chrono::duration<double>(now - who.counted).count();
    who.left = std::min(rate, who.left + seconds * rate);
    who.counted = now;
    // What is longer than a second's worth comes through when nothing else has.
    const double needed = std::min(static_cast<double>(records), rate);
    if (who.left < needed) {
        return false;
    }
    who.left -= static_cast<double>(records);
    return true;
}

bool access_rules::is_own_host(std::string_view host) const noexcept {
    if (needs_token()) {
        return true;
    }
    if (host.starts_with('[')) {
        return true; // an IPv6 address, which no name server can give a meaning
    }
    host = host.substr(0, host.rfind(':'));
    if (host == "localhost" || std::ranges::find(hosts_, host) != hosts_.end()) {
        return true;
    }
    char text[INET_ADDRSTRLEN] = {};
    in_addr address{};
    if (host.empty() || host.size() >= sizeof(text)) {
        return false;
    }
    host.copy(text, host.size());
    return ::inet_pton(AF_INET, text, &address) == 1;
}

bool may_write(const access_token& token, std::string_view log) noexcept {
    return token.logs.empty() || std::ranges::find(token.logs, log) != token.logs.end();
}

bool is_user(const std::vector<uid_t>& users, uid_t who) noexcept {
    return users.empty() || std::ranges::find(users, who) != users.end();
}

bool is_local(const endpoint& at) {
    if (at.family() == AF_INET) {
        return at.address().starts_with("127.");
    }
    return at.family() == AF_UNIX || at.address() == "::1";
}

} // namespace sapwood::collector
