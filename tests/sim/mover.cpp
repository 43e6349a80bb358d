#include "mover.hpp"

#include "sim_machine.hpp"

#include <sapwood/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <utility>

namespace sapwood::simulation {

namespace {

using std::chrono::microseconds;

constexpr std::string_view log_name = "log";
constexpr std::string_view moved_prefix = "moved.";
constexpr std::string_view away_prefix = "away.";

/// What links lead to: a file, and a name that nothing has.
constexpr std::string_view others = "/others";
constexpr std::string_view others_text = "nobody's business\n";
constexpr std::string_view nowhere = "/nowhere";

constexpr unsigned no_replace = 1; // RENAME_NOREPLACE

/// None at all, or so that changes of segments are met, or so that the log notices.
microseconds pause_of(sim_random& chance) {
    constexpr std::uint64_t most[] = {1, 300, 3000, 20'000, 1'200'000};
    return microseconds(chance.below(most[chance.below(5)]));
}

bool has_failed(const sim_counts& counts) noexcept {
    return counts.interrupted + counts.tried_again + counts.write_errors + counts.sync_errors +
               counts.name_errors + counts.outage_errors + counts.slow + counts.hung !=
           0;
}

} // namespace

std::string log_path_of(sim_world& world, std::uint64_t seed) {
    if (!sim_random(seed * 0xaef17502108ef2d9 + 1).one_in(3)) {
        return fmt::format("/{}", log_name);
    }
    world.put_directory("/place");
    return fmt::format("/place/{}", log_name);
}

std::optional<std::uint64_t> mover_of(std::uint64_t seed, std::uint64_t life) noexcept {
    sim_random chance(seed * 0x94d049bb133111eb + life);
    const std::uint64_t his = chance.next();
    return chance.one_in(5) ? std::optional(his) : std::nullopt;
}

std::unique_ptr<mover> mover::of_lives(sim_world& world, const std::string& path,
                                       std::uint64_t seed, std::uint64_t lives) {
    for (std::uint64_t life = 1; life <= lives; ++life) {
        if (mover_of(seed, life)) {
            return std::make_unique<mover>(world, path);
        }
    }
    return nullptr;
}

mover::mover(sim_world& world, std::string path)
    : world_(world),
      path_(std::move(path)),
      folder_(path_.substr(0, path_.rfind('/'))) {
    world.put(others, others_text);
}

task<> mover::move_about(std::uint64_t seed, std::function<void()> striking) {
    sim_random chance(seed);
    for (std::uint64_t left = chance.between(1, 6); left > 0; --left) {
        if (const auto pause = pause_of(chance); pause != microseconds()) {
            co_await sleep_for(pause);
        }
        if (world_.has_crashed()) {
            co_return;
        }
        act(chance, striking);
    }
    co_await sleep_for(pause_of(chance));
    if (world_.has_crashed()) {
        co_return;
    }
    put_right();
    world_.heal();
    // What hung before has ended by then.
    co_await sleep_for(std::chrono::seconds(has_failed(world_.counts()) ? 60 : 1));
}

void mover::act(sim_random& chance, const std::function<void()>& striking) {
    switch (chance.below(9)) {
    case 0:
    case 1:
        move_away(path_, chance.one_in(2));
        break;
    case 2:
        move_segment(chance);
        break;
    case 3:
        take_back(chance, striking);
        break;
    case 4:
        remove_moved(chance, striking);
        break;
    case 5:
        move_directory();
        break;
    case 6:
        if (is_there(folder_) && chance.one_in(2)) {
            remove_directory(striking);
        } else {
            have_directory(chance.one_in(2));
        }
        break;
    default:
        plant(chance, planted_name(chance));
    }
}

void mover::come_between(sim_random& chance) {
    if (chance.one_in(3)) {
        plant(chance, path_);
    }
}

// --- other names ---

void mover::move_away(const std::string& from, bool is_far) {
    const std::string to =
        fmt::format("{}/{}{}", is_far ? std::string() : folder_, moved_prefix, ++names_);
    if (world_.machine().files.rename(AT_FDCWD, from, AT_FDCWD, to, no_replace) == 0) {
        world_.note(fmt::format("-- somebody renames {} to {}", from, to));
    }
}

/// One that was set aside, or is in the making.
void mover::move_segment(sim_random& chance) {
    names found;
    for (const std::string& each : names_in(folder_)) {
        if (each.starts_with(fmt::format("{}.", log_name)) && !each.ends_with(".torn")) {
            found.push_back(each);
        }
    }
    if (!found.empty()) {
        move_away(fmt::format("{}/{}", folder_, found[chance.below(found.size())]),
                  chance.one_in(2));
    }
}

void mover::take_back(sim_random& chance, const std::function<void()>& striking) {
    const names found = moved();
    if (found.empty()) {
        return;
    }
    const std::string& from = found[chance.below(found.size())];
    const bool replaces = chance.one_in(3);
    if (replaces && is_there(path_)) {
        destroy(path_, striking);
    }
    const unsigned flags = replaces ? 0 : no_replace;
    if (world_.machine().files.rename(AT_FDCWD, from, AT_FDCWD, path_, flags) == 0) {
        world_.note(fmt::format("-- somebody renames {} to {}", from, path_));
    }
}

void mover::remove_moved(sim_random& chance, const std::function<void()>& striking) {
    const names found = moved();
    if (!found.empty()) {
        const std::string& gone = found[chance.below(found.size())];
        destroy(gone, striking);
        (void)world_.machine().files.remove(AT_FDCWD, gone, 0);
        world_.note(fmt::format("-- somebody removes {}", gone));
    }
}

/// Before the name is another file's, or nobody's.
void mover::destroy(const std::string& name, const std::function<void()>& striking) {
    striking();
    has_destroyed_ = true;
    keep_other_name(name);
}

/// Who takes one of two names away has the other one on disk, or the file would be gone with the
/// power.
void mover::keep_other_name(const std::string& name) {
    struct ::statx status {};

    if (!status_of(name, status) || S_ISDIR(status.stx_mode) || status.stx_nlink < 2) {
        return;
    }
    for (const std::string& folder : directories()) {
        sync_directory(folder.empty() ? "/" : folder);
    }
}

void mover::sync_directory(const std::string& path) {
    detail::sim_files& files = world_.machine().files;
    const int fd = files.open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, 0);
    (void)files.sync(fd, files.sync_mark(fd));
    (void)files.close(fd);
}

// --- the directory ---

void mover::move_directory() {
    if (folder_.empty()) {
        return;
    }
    const std::string to = fmt::format("/{}{}", away_prefix, ++names_);
    if (world_.machine().files.rename(AT_FDCWD, folder_, AT_FDCWD, to, no_replace) == 0) {
        world_.note(fmt::format("-- somebody renames {} to {}", folder_, to));
    }
}

void mover::remove_directory(const std::function<void()>& striking) {
    if (folder_.empty()) {
        return;
    }
    destroy(folder_, striking);
    for (const std::string& each : world_.names(folder_)) {
        const std::string name = fmt::format("{}/{}", folder_, each);
        keep_other_name(name);
        (void)world_.machine().files.remove(AT_FDCWD, name, 0);
    }
    (void)world_.machine().files.remove(AT_FDCWD, folder_, AT_REMOVEDIR);
    world_.note(fmt::format("-- somebody removes {}, and all that was in it", folder_));
}

/// Who makes it for a log has it on disk: the log sees to those that it makes itself.
void mover::have_directory(bool is_new) {
    detail::sim_files& files = world_.machine().files;
    if (folder_.empty() || is_there(folder_)) {
        return;
    }
    for (const std::string& each : world_.names()) {
        if (!is_new && each.starts_with(away_prefix) &&
            files.rename(AT_FDCWD, "/" + each, AT_FDCWD, folder_, no_replace) == 0) {
            world_.note(fmt::format("-- somebody renames /{} to {}", each, folder_));
            return;
        }
    }
    (void)files.make_directory(AT_FDCWD, folder_, 0700);
    sync_directory("/");
    world_.note(fmt::format("-- somebody makes {}", folder_));
}

// --- what is planted ---

std::string mover::planted_name(sim_random& chance) const {
    switch (chance.below(5)) {
    case 0:
        return path_ + ".next";
    case 1:
        return path_ + ".torn";
    case 2: { // the next segment's name, it may be
        const std::string text = world_.contents(path_).value_or("");
        const auto lines = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
        return fmt::format("{}.{:016}", path_, lines + chance.below(3));
    }
    default:
        return path_;
    }
}

void mover::plant(sim_random& chance, const std::string& name) {
    detail::sim_files& files = world_.machine().files;
    if (name == path_ && is_there(path_)) {
        move_away(path_, chance.one_in(2));
    }
    std::int32_t error = 0;
    std::string_view what = "a link";
    // What is called .next is the log's to remove: who gives the log itself that name loses it.
    const std::uint64_t kinds = name.ends_with(".next") ? 4 : 5;
    switch (chance.below(kinds)) {
    case 0:
        error = files.make_symlink(others, AT_FDCWD, name);
        break;
    case 1:
        error = files.make_symlink(nowhere, AT_FDCWD, name);
        break;
    case 2:
        error = files.make_fifo(name, 0600);
        what = "a FIFO";
        break;
    case 3:
        error = files.link(AT_FDCWD, others, AT_FDCWD, name, 0);
        what = "another file's second name";
        break;
    default: {
        const names found = moved();
        const std::string& of = found.empty() ? path_ : found[chance.below(found.size())];
        error = files.link(AT_FDCWD, name == path_ ? of : path_, AT_FDCWD, name, 0);
        what = "the log's second name";
    }
    }
    if (error == 0) {
        world_.note(fmt::format("-- somebody plants {}: {}", name, what));
    }
}

void mover::put_right() {
    have_directory(false);
    // Of two names for one file the one that the log would not give it goes first.
    for (const bool is_segment : {false, true}) {
        for (const std::string& folder : directories()) {
            for (const std::string& each : names_in(folder)) {
                const std::string name = fmt::format("{}/{}", folder, each);
                const bool is_segments = !name.ends_with(".torn") && !name.ends_with(".next");
                if (name != others && name != path_ && is_segments == is_segment &&
                    may_not_be_log(name)) {
                    take_away(name);
                }
            }
        }
    }
    if (is_planted()) { // still: it is not the log that has other names
        take_away(path_);
    }
}

void mover::take_away(const std::string& name) {
    keep_other_name(name);
    (void)world_.machine().files.remove(AT_FDCWD, name, 0);
    world_.note(fmt::format("-- somebody takes {} away", name));
}

// --- what there is ---

bool mover::status_of(const std::string& path, struct ::statx& into) const {
    return world_.machine().files.status(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, into) == 0;
}

bool mover::is_there(const std::string& path) const {
    struct ::statx status {};

    return path.empty() || status_of(path, status);
}

/// A link, a FIFO, a file with two names.
bool mover::may_not_be_log(const std::string& path) const {
    struct ::statx status {};

    return status_of(path, status) && !S_ISDIR(status.stx_mode) &&
           (!S_ISREG(status.stx_mode) || status.stx_nlink > 1);
}

bool mover::is_planted() const {
    return may_not_be_log(path_);
}

bool mover::is_in_the_way() const {
    if (!is_there(folder_)) {
        return true;
    }
    for (const std::string& each : names_in(folder_)) {
        if (may_not_be_log(fmt::format("{}/{}", folder_, each))) {
            return true;
        }
    }
    return false;
}

mover::names mover::names_in(const std::string& folder) const {
    return world_.names(folder.empty() ? "/" : folder);
}

mover::names mover::moved() const {
    names found;
    for (const std::string& folder : directories()) {
        for (const std::string& each : names_in(folder)) {
            if (each.starts_with(moved_prefix)) {
                found.push_back(fmt::format("{}/{}", folder, each));
            }
        }
    }
    return found;
}

mover::names mover::directories() const {
    names found{std::string()};
    for (const std::string& each : world_.names()) {
        struct ::statx status {};

        std::string path = "/" + each;
        if (status_of(path, status) && S_ISDIR(status.stx_mode)) {
            found.push_back(std::move(path));
        }
    }
    return found;
}

std::optional<std::string> mover::objection() const {
    if (world_.contents(others) != others_text) {
        return fmt::format("{} was written to, to which only what was planted leads", others);
    }
    if (is_there(std::string(nowhere))) {
        return fmt::format("{} was made, to which only a link leads that was planted", nowhere);
    }
    return std::nullopt;
}

bool mover::is_named(std::string_view line) const {
    for (const std::string& each : names_in(folder_)) {
        if (each.starts_with(log_name) && !each.ends_with(".torn") &&
            world_.contents(fmt::format("{}/{}", folder_, each)).value_or("").find(line) !=
                std::string::npos) {
            return true;
        }
    }
    return false;
}

} // namespace sapwood::simulation
