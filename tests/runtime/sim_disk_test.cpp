// The simulated disk against a real one: the same operations on both, then the power of the real
// one is cut; what it is left with must be something that the simulated one may be left with. The
// real one is an ext4 on a loop device that is shut down without writing its journal out; one that
// delays the allocation of blocks until it writes them, as ext4 does, and one that does not.
//
// SAPWOOD_TEST_POWER_CUTS says how often, SAPWOOD_TEST_POWER_CUTS_SEED where the seeds begin; a few
// times from 1 on by default.
#include "sim_files.hpp"

#include "support/scratch_disk.hpp"

#include <sapwood/sim_random.hpp>

#include <cerrno>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::sim_random;
using sapwood::detail::sim_files;
using sapwood::test::scratch_disk;

constexpr int power_cuts_usual = 6;

int setting(const char* name, int usual) {
    const char* const text = std::getenv(name);
    return text != nullptr ? std::atoi(text) : usual;
}

/// One directory, there and here.
class twin {
  public:
    twin(scratch_disk& disk, std::uint64_t seed)
        : chance_(seed),
          name_("cut" + std::to_string(seed)),
          real_folder_(disk / name_),
          folder_("/" + name_) {
        REQUIRE(::mkdir(real_folder_.c_str(), 0700) == 0);
        const int folder = ::open(real_folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(::syncfs(folder) == 0);
        ::close(folder);
        REQUIRE(simulated_.make_directory(AT_FDCWD, folder_, 0700) == 0);
        simulated_.make_all_durable();
    }

    twin(const twin&) = delete;
    twin& operator=(const twin&) = delete;

    ~twin() { close_all(); }

    void do_something() {
        switch (chance_.below(14)) {
        case 0:
            create();
            break;
        case 1:
            sync();
            break;
        case 9:
            allocate();
            break;
        case 2:
            sync_folder();
            break;
        case 3:
            truncate();
            break;
        case 4:
            rename();
            break;
        case 5:
            remove();
            break;
        case 6:
            overwrite();
            break;
        case 7:
            append(RWF_DSYNC);
            break;
        case 8:
            write_back();
            break;
        default:
            append(0);
            break;
        }
    }

    void close_all() {
        for (const open_file& each : files_) {
            ::close(each.real);
            (void)simulated_.close(each.simulated);
        }
        files_.clear();
    }

    /// What the kernels have, with nothing lost: names and contents are the same.
    [[nodiscard]] bool are_equal() const {
        std::map<std::string, std::string> here;
        simulated_.visit_regular([&](const std::string& path, const sim_files::inode& file) {
            here[path.substr(folder_.size() + 1)] = file.bytes.cached();
        });
        return here == found();
    }

    /// What is there now must be possible here.
    [[nodiscard]] std::optional<std::string> objection() const {
        return simulated_.objection(folder_, found());
    }

    [[nodiscard]] const std::string& log() const noexcept { return log_; }

  private:
    struct open_file {
        int real;
        int simulated;
        std::string name;
        /// Writes go to its end, whatever offset they name.
        bool appends;
    };

    void note(const std::string& line) { log_ += line + "\n"; }

    [[nodiscard]] std::map<std::string, std::string> found() const {
        std::map<std::string, std::string> all;
        for (const auto& entry : std::filesystem::directory_iterator(real_folder_)) {
            std::ifstream file(entry.path(), std::ios::binary);
            all[entry.path().filename()] = {std::istreambuf_iterator<char>(file), {}};
        }
        return all;
    }

    open_file* any_file() {
        return files_.empty() ? nullptr : &files_[chance_.below(files_.size())];
    }

    std::string bytes() {
        std::string text(chance_.one_in(3) ? chance_.between(1, 9000) : chance_.between(1, 400),
                         ' ');
        for (char& each : text) {
            each = static_cast<char>('a' + chance_.below(26));
        }
        return text;
    }

    void create() {
        const std::string name = "f" + std::to_string(++names_);
        const int flags = O_RDWR | O_CREAT | O_EXCL | (chance_.one_in(3) ? O_APPEND : 0);
        const int real = ::open((real_folder_ + "/" + name).c_str(), flags | O_CLOEXEC, 0600);
        const int simulated = simulated_.open(AT_FDCWD, folder_ + "/" + name, flags, 0600, 0);
        REQUIRE(real >= 0);
        REQUIRE(simulated >= 0);
        files_.push_back({real, simulated, name, (flags & O_APPEND) != 0});
        note("create " + name + ((flags & O_APPEND) != 0 ? ", appended to" : ""));
    }

    void write_at(const open_file& file, std::int64_t at, const std::string& text, int flags) {
        const iovec all{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
        REQUIRE(::pwritev2(file.real, &all, 1, at, flags) == static_cast<ssize_t>(text.size()));
        REQUIRE(simulated_.write({.fd = file.simulated,
                                  .offset = at,
                                  .is_synced = flags == RWF_DSYNC,
                                  .appends = file.appends},
                                 text) == static_cast<std::int32_t>(text.size()));
        note("write " + file.name + " at " + std::to_string(at) + ", " +
             std::to_string(text.size()) + " bytes" + (flags != 0 ? ", synced" : ""));
    }

    [[nodiscard]] std::int64_t size_of(const open_file& file) const {
        return static_cast<std::int64_t>(
            simulated_.node_of(*simulated_.opened(file.simulated)).bytes.size());
    }

    void append(int flags) {
        if (const open_file* const file = any_file()) {
            write_at(*file, size_of(*file), bytes(), flags);
        }
    }

    void overwrite() {
        const open_file* const file = any_file();
        if (file != nullptr && size_of(*file) > 0) {
            const auto at = static_cast<std::int64_t>(
                chance_.below(static_cast<std::uint64_t>(size_of(*file))));
            write_at(*file, at, bytes(), 0);
        }
    }

    void truncate() {
        if (const open_file* const file = any_file()) {
            const auto size = static_cast<std::int64_t>(
                chance_.below(static_cast<std::uint64_t>(size_of(*file)) + 100));
            REQUIRE(::ftruncate(file->real, size) == 0);
            REQUIRE(simulated_.truncate(file->simulated, size) == 0);
            note("truncate " + file->name + " to " + std::to_string(size));
        }
    }

    void allocate() {
        if (const open_file* const file = any_file()) {
            const int mode = chance_.one_in(2) ? FALLOC_FL_KEEP_SIZE : 0;
            const std::int64_t begin = size_of(*file);
            const auto size = static_cast<std::int64_t>(chance_.between(1, 20'000));
            REQUIRE(::fallocate(file->real, mode, begin, size) == 0);
            REQUIRE(simulated_.allocate(file->simulated, mode, begin, size) == 0);
            note("allocate " + std::to_string(size) + " bytes behind " + file->name +
                 (mode != 0 ? ", of the same size" : ""));
        }
    }

    void sync() {
        if (const open_file* const file = any_file()) {
            const bool is_whole = chance_.one_in(2);
            REQUIRE((is_whole ? ::fsync(file->real) : ::fdatasync(file->real)) == 0);
            REQUIRE(simulated_.sync(file->simulated, simulated_.sync_mark(file->simulated)) == 0);
            note((is_whole ? "fsync " : "fdatasync ") + file->name);
        }
    }

    void sync_folder() {
        const int real = ::open(real_folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const int here = simulated_.open(AT_FDCWD, folder_, O_RDONLY | O_DIRECTORY, 0, 0);
        REQUIRE(::fsync(real) == 0);
        REQUIRE(simulated_.sync(here, simulated_.sync_mark(here)) == 0);
        ::close(real);
        (void)simulated_.close(here);
        note("sync the directory");
    }

    void rename() {
        if (open_file* const file = any_file()) {
            // To a name that is free, or another file's.
            const std::string to =
                chance_.one_in(2) ? "f" + std::to_string(++names_) : any_file()->name;
            if (to == file->name || file->name.empty() || to.empty()) {
                return;
            }
            REQUIRE(::rename((real_folder_ + "/" + file->name).c_str(),
                             (real_folder_ + "/" + to).c_str()) == 0);
            REQUIRE(simulated_.rename(AT_FDCWD, folder_ + "/" + file->name, AT_FDCWD,
                                      folder_ + "/" + to, 0) == 0);
            note("rename " + file->name + " to " + to);
            for (open_file& each : files_) {
                if (each.name == to) {
                    each.name.clear();
                }
            }
            file->name = to;
        }
    }

    void remove() {
        open_file* const file = any_file();
        if (file != nullptr && !file->name.empty()) {
            REQUIRE(::unlink((real_folder_ + "/" + file->name).c_str()) == 0);
            REQUIRE(simulated_.remove(AT_FDCWD, folder_ + "/" + file->name, 0) == 0);
            note("remove " + file->name);
            file->name.clear();
        }
    }

    /// The kernel does that when it likes: some pages go to the disk.
    void write_back() {
        const open_file* const file = any_file();
        if (file != nullptr && size_of(*file) > 0) {
            const auto at =
                static_cast<off64_t>(chance_.below(static_cast<std::uint64_t>(size_of(*file))));
            (void)::sync_file_range(file->real, at, 4096,
                                    SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
            note("write back " + file->name + " from " + std::to_string(at));
        }
    }

    sim_random chance_;
    const std::string name_;
    const std::string real_folder_;
    const std::string folder_;
    sim_files simulated_;
    std::vector<open_file> files_;
    unsigned names_ = 0;
    std::string log_;
};

} // namespace

TEST_SUITE("sim_disk") {
    TEST_CASE("a sync of all takes nothing from what was synced alone, whichever began first") {
        const std::string unsynced(1024, 'a');
        const std::string alone(76, 'b');
        for (const bool began_before : {true, false}) {
            CAPTURE(began_before);
            for (std::uint64_t seed = 0; seed < 50; ++seed) {
                sim_files files;
                const int log =
                    files.open(AT_FDCWD, "/log", O_WRONLY | O_CREAT | O_APPEND, 0600, 0);
                files.make_all_durable();
                const auto append = [&](const std::string& text, bool is_synced) {
                    REQUIRE(files.write({.fd = log, .is_synced = is_synced, .appends = true},
                                        text) == static_cast<std::int32_t>(text.size()));
                };
                append(unsynced, false);
                const std::uint64_t before = files.sync_mark(log);
                append(alone, true);
                const std::uint64_t mark = began_before ? before : files.sync_mark(log);
                append("c", false); // after either began
                REQUIRE(files.sync(log, mark) == 0);
                sim_random chance(seed);
                files.cut(chance);
                const auto* const left = files.find("/log");
                REQUIRE(left != nullptr);
                CHECK(left->bytes.cached().substr(0, 1100) == unsynced + alone);
            }
        }
    }

    TEST_CASE("what was cut off stays so, but for what a sync alone has put there since") {
        for (std::uint64_t seed = 0; seed < 50; ++seed) {
            sim_files files;
            const int log = files.open(AT_FDCWD, "/log", O_WRONLY | O_CREAT | O_APPEND, 0600, 0);
            const auto append = [&](const std::string& text, bool is_synced) {
                (void)files.write({.fd = log, .is_synced = is_synced, .appends = true}, text);
            };
            append(std::string(5000, 'a'), false);
            files.make_all_durable();
            REQUIRE(files.truncate(log, 100) == 0);
            append(std::string(412, 'b'), true); // to the end of a sector
            REQUIRE(files.truncate(log, 2000) == 0);
            const std::uint64_t mark = files.sync_mark(log);
            append("c", false);
            REQUIRE(files.sync(log, mark) == 0);
            sim_random chance(seed);
            files.cut(chance);
            const auto* const left = files.find("/log");
            REQUIRE(left != nullptr);
            CHECK(left->bytes.cached().substr(0, 2000) ==
                  std::string(100, 'a') + std::string(412, 'b') + std::string(1488, '\0'));
        }
    }

    TEST_CASE("what a power cut leaves on ext4 the simulated disk may be left with") {
        const int first = setting("SAPWOOD_TEST_POWER_CUTS_SEED", 1);
        const int count = setting("SAPWOOD_TEST_POWER_CUTS", power_cuts_usual);
        for (const char* const options : {"", "nodelalloc"}) {
            CAPTURE(std::string(options));
            std::string why_not;
            const auto disk =
                scratch_disk::mount(scratch_disk::kind::ext4, 64u << 20, why_not, options);
            if (disk == nullptr) {
                MESSAGE("not compared with ext4: " << why_not);
                return;
            }
            for (int seed = first; seed < first + count; ++seed) {
                CAPTURE(seed);
                twin both(*disk, static_cast<std::uint64_t>(seed));
                sim_random chance(static_cast<std::uint64_t>(seed));
                for (std::uint64_t left = chance.between(3, 40); left > 0; --left) {
                    both.do_something();
                }
                CAPTURE(both.log());
                REQUIRE(both.are_equal());
                both.close_all();
                disk->cut_power();
                disk->mount_again();
                const auto wrong = both.objection();
                REQUIRE_MESSAGE(!wrong, "the simulated disk would not have " << wrong.value_or(""));
            }
        }
    }
}
