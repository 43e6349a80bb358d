#include <sapwood/sim_world.hpp>

#include "sim_machine.hpp"
#include "sim_ring.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/op.hpp>
#include <sapwood/run.hpp>
#include <sapwood/when_any.hpp>

#include <algorithm>
#include <fcntl.h>
#include <liburing.h>
#include <stdexcept>
#include <utility>

namespace sapwood {

namespace {

/// Ends when the process is to end before its time.
class stop_op final : public op<stop_op, void> {
  public:
    void prepare(io_uring_sqe& sqe) noexcept override {
        ::io_uring_prep_nop(&sqe);
        sqe.opcode = detail::opcode_sim_stop;
    }

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override { return "wait for the end of a simulated process"; }
};

task<> stopped() {
    co_await stop_op();
}

task<bool> until_stopped(task<> main) {
    const auto first = co_await when_any(std::move(main), stopped());
    co_return first.index == 0;
}

const sim_options& validated(const sim_options& options) {
    const auto is_power = [](unsigned count) { return count != 0 && (count & (count - 1)) == 0; };
    if (!is_power(options.sq_entries) || !is_power(options.cq_entries)) {
        throw std::invalid_argument("sim_options: sq_entries and cq_entries must be powers of two");
    }
    return options;
}

} // namespace

sim_faults sim_faults::some(sim_random& chance) {
    sim_faults made;
    const auto rate = [&](unsigned& of, std::uint64_t least, std::uint64_t most,
                          std::uint64_t times = 3) {
        if (chance.one_in(times)) {
            of = static_cast<unsigned>(chance.between(least, most));
        }
    };
    rate(made.short_write, 1, 20);
    rate(made.interrupted, 2, 40);
    rate(made.try_again, 5, 100);
    rate(made.given_up, 5, 100);
    rate(made.write_error, 5, 100);
    rate(made.sync_error, 2, 30, 2); // what is hardest to get right
    rate(made.name_error, 10, 100);
    rate(made.slow, 3, 60);
    rate(made.hang, 30, 300);
    rate(made.early_return, 2, 20);
    return made;
}

sim_world::sim_world(sim_options options)
    : machine_(std::make_unique<detail::sim_machine>(validated(options))) {}

sim_world::~sim_world() = default;

std::unique_ptr<ring> sim_world::make_ring() {
    return std::make_unique<sim_ring>(*machine_);
}

bool sim_world::run(task<> main) {
    bool ended = false;
    std::exception_ptr failure;
    {
        loop_options options;
        options.on_unhandled_exception = [this, &failure](std::exception_ptr error) {
            if (!machine_->is_ghost() && !failure) {
                failure = std::move(error);
            }
        };
        event_loop loop(make_ring(), std::move(options));
        try {
            ended = loop.run(until_stopped(std::move(main)));
        } catch (...) {
            if (!machine_->is_ghost()) {
                failure = std::current_exception();
            }
        }
    }
    const bool was_crash = machine_->is_ghost();
    if (failure && !was_crash) {
        std::rethrow_exception(failure);
    }
    return ended && !was_crash;
}

void sim_world::crash_at(std::uint64_t operations, sim_crash how) {
    machine_->crash_in = operations;
    machine_->crash_kind = how;
}

void sim_world::crash(sim_crash how) {
    if (how == sim_crash::power_cut) {
        machine_->cut_power();
    }
}

bool sim_world::has_crashed() const noexcept {
    return machine_->has_crashed;
}

bool sim_world::has_hung() const noexcept {
    return machine_->has_hung;
}

void sim_world::add(const sim_outage& outage) {
    machine_->outages.push_back({.from = machine_->now + outage.from,
                                 .to = machine_->now + outage.to,
                                 .error = outage.error,
                                 .bytes_left = outage.bytes_left});
}

void sim_world::set_faults(const sim_faults& faults) {
    machine_->faults = faults;
}

void sim_world::heal() {
    machine_->faults = {};
    machine_->outages.clear();
}

void sim_world::script(std::function<std::optional<std::int32_t>(const io_uring_sqe&)> answer) {
    machine_->script = std::move(answer);
}

clock::time_point sim_world::now() const noexcept {
    return machine_->now;
}

sim_random& sim_world::chance() noexcept {
    return machine_->test_chance;
}

std::optional<std::string> sim_world::contents(std::string_view path) const {
    const auto* const file = machine_->files.find(path);
    if (file == nullptr || !S_ISREG(file->mode)) {
        return std::nullopt;
    }
    return std::string(file->bytes.cached());
}

std::optional<std::string> sim_world::durable_contents(std::string_view path) const {
    const auto* const file = machine_->files.find(path);
    if (file == nullptr || !S_ISREG(file->mode)) {
        return std::nullopt;
    }
    return std::string(file->bytes.durable());
}

std::vector<std::string> sim_world::names(std::string_view folder) const {
    std::vector<std::string> found;
    if (const auto* const node = machine_->files.find(folder)) {
        for (const auto& [name, file] : node->names) {
            found.push_back(name);
        }
    }
    return found;
}

// --- what was there before ---

void sim_world::put(std::string_view path, std::string_view contents) {
    auto& files = machine_->files;
    const int fd = files.open(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0600, 0);
    if (fd < 0 || files.write({.fd = fd, .offset = 0}, contents) < 0) {
        throw std::invalid_argument("sim_world: cannot put a file there");
    }
    (void)files.close(fd);
    files.make_all_durable();
}

void sim_world::put_symlink(std::string_view path, std::string_view target) {
    (void)machine_->files.make_symlink(target, AT_FDCWD, path);
    machine_->files.make_all_durable();
}

void sim_world::put_fifo(std::string_view path) {
    (void)machine_->files.make_fifo(path, 0600);
    machine_->files.make_all_durable();
}

void sim_world::put_directory(std::string_view path) {
    (void)machine_->files.make_directory(AT_FDCWD, path, 0700);
    machine_->files.make_all_durable();
}

// --- what has happened ---

const sim_counts& sim_world::counts() const noexcept {
    return machine_->counts;
}

const std::vector<std::string>& sim_world::trace() const noexcept {
    return machine_->lines;
}

void sim_world::note(std::string_view line) {
    machine_->trace("{}", line);
}

std::uint64_t sim_world::digest() const noexcept {
    return machine_->digest;
}

} // namespace sapwood
