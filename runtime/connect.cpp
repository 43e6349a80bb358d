#include <sapwood/connect.hpp>

#include <sapwood/channel.hpp>
#include <sapwood/fmt_library.hpp>
#include <sapwood/task_group.hpp>

#include <algorithm>
#include <optional>

namespace sapwood {

namespace {

/// What the attempts at one connection share.
struct race {
    explicit race(std::vector<endpoint> addresses, connect_options with)
        : to(std::move(addresses)),
          options(with),
          failed(to.size()) {}

    const std::vector<endpoint> to;
    const connect_options options;
    std::optional<tcp_stream> winner;
    std::error_code first_error;
    std::string reasons;
    /// Told of each attempt that failed.
    channel<std::size_t> failed;
};

task<> attempt(race& shared, std::size_t which, task_group& all) {
    try {
        tcp_stream made = co_await tcp_stream::connect(shared.to[which], shared.options.stream);
        if (!shared.winner) {
            shared.winner = std::move(made);
            all.cancel();
        }
        co_return;
    } catch (const std::system_error& failure) {
        if (!shared.first_error) {
            shared.first_error = failure.code();
        }
        shared.reasons += fmt::format("{}{}: {}", shared.reasons.empty() ? "" : "; ",
                                      shared.to[which].to_string(), failure.code().message());
    }
    (void)shared.failed.try_send(which);
}

task<> begin_attempts(race& shared, task_group& all) {
    for (std::size_t next = 0; next < shared.to.size(); ++next) {
        all.spawn(attempt(shared, next, all));
        if (next + 1 < shared.to.size()) {
            (void)co_await shared.failed.receive_for(shared.options.attempt_delay);
        }
    }
}

} // namespace

namespace detail {

std::vector<endpoint> by_turns(const std::vector<endpoint>& addresses) {
    std::vector<endpoint> first;
    std::vector<endpoint> second;
    for (const auto& each : addresses) {
        (each.family() == addresses.front().family() ? first : second).push_back(each);
    }
    std::vector<endpoint> mixed;
    for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
        if (i < first.size()) {
            mixed.push_back(first[i]);
        }
        if (i < second.size()) {
            mixed.push_back(second[i]);
        }
    }
    return mixed;
}

} // namespace detail

namespace {

/// `name` is what the caller wanted, for the error.
task<tcp_stream> connect_first(std::string name, std::vector<endpoint> addresses,
                               connect_options options) {
    race shared(std::move(addresses), options);
    task_group all;
    all.spawn(begin_attempts(shared, all));
    co_await all.join();
    if (!shared.winner) {
        throw std::system_error(shared.first_error,
                                fmt::format("cannot connect to {} ({})", name, shared.reasons));
    }
    co_return std::move(*shared.winner);
}

} // namespace

task<tcp_stream> connect_to_any(std::vector<endpoint> addresses, connect_options options) {
    SAPWOOD_ASSERT(!addresses.empty(), "connect_to_any() was given no address");
    std::string name = addresses.front().to_string();
    if (addresses.size() > 1) {
        name += fmt::format(" or {} more", addresses.size() - 1);
    }
    return connect_first(std::move(name), std::move(addresses), options);
}

task<tcp_stream> connect_to(std::string host, std::string service, connect_options options) {
    std::string name = fmt::format("{}:{}", host, service);
    auto addresses = co_await resolve(std::move(host), std::move(service), options.family);
    co_return co_await connect_first(std::move(name), detail::by_turns(addresses), options);
}

} // namespace sapwood
